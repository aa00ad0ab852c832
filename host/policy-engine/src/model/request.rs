//! What a policy sees of a request, as plain host types that know nothing of WebAssembly.
//!
//! The session canonicalises CIDRs and MACs before a guest sees them. It rejects nothing here,
//! because the daemon has already validated the request.

use std::collections::BTreeMap;

pub use cni_types::args::Command;
pub use cni_types::capability::{Bandwidth, PortMapping};
use cni_types::json::{Document, Limits};
pub use cni_types::pod::PodRef;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The object that controls a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its kind, such as `ReplicaSet`.
    pub kind: String,
    /// Its name, in the pod's namespace.
    pub name: String,
    pub uid: String,
}

/// Who a pod belongs to; all unknown on DEL if the pod object is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Name of its service account.
    pub service_account: Option<String>,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Whether it uses the node's network.
    pub host_network: bool,
}

/// The facts of a request, known before any network is resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestFacts {
    /// The CNI verb.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC and STATUS.
    pub container_id: String,
    /// The pod; `None` for GC and STATUS.
    pub pod: Option<PodRef>,
    /// Labels of the pod; empty on DEL if the pod object is gone.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod; empty on DEL if the pod object is gone.
    pub annotations: BTreeMap<String, String>,
    /// Who the pod belongs to.
    #[serde(default)]
    pub pod_spec: PodSpec,
    /// Labels of the pod's namespace; `None` if unknown.
    ///
    /// If they are unknown, a policy that matches on namespace labels matches, so that hiding the
    /// labels cannot evade a guard.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Name of this node.
    pub node_name: String,
}

impl RequestFacts {
    /// The facts of a request about the node rather than a pod.
    pub(crate) fn of_node(command: Command) -> Self {
        Self {
            command,
            container_id: String::new(),
            pod: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            pod_spec: PodSpec::default(),
            namespace_labels: None,
            node_name: String::new(),
        }
    }
}

/// One network that the pod selects, before it is resolved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Namespace of the NAD.
    pub namespace: String,
    /// Name of the NAD.
    pub name: String,
    /// Requested interface name.
    pub if_name: Option<String>,
    /// Requested addresses or CIDRs.
    pub ips: Vec<String>,
    /// Requested MAC address.
    pub mac: Option<String>,
    /// Requested InfiniBand GUID.
    pub infiniband_guid: Option<String>,
    /// Requested bandwidth.
    pub bandwidth: Option<Bandwidth>,
    /// Requested port mappings.
    pub port_mappings: Vec<PortMapping>,
    /// Gateways for default routes through this network.
    pub default_route: Vec<String>,
    /// The `cni-args` object.
    #[serde(default, with = "optional_document")]
    pub cni_args: Option<Document>,
}

/// The networks that a pod gets besides the cluster's default network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Networks {
    /// Replaces the cluster's default network.
    pub default: Option<Selection>,
    /// Names of the networks that the node gives to every pod.
    pub of_node: Vec<String>,
    /// The pod's own selections.
    pub of_pod: Vec<Selection>,
}

/// Who asks for a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The pod: index of the offered selection.
    Pod(usize),
    /// The node: index of the offered name.
    Node(usize),
    /// A policy.
    Policy,
}

/// The default network after the select hook.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ChosenDefault {
    /// As offered.
    #[default]
    Offered,
    /// The cluster's default network.
    Cluster,
    /// Another one, set by the policy.
    Set(Box<Selection>, Option<String>),
}

/// A selection after the select hook.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Who asks for it. The daemon uses it to carry over members that policies cannot see.
    pub origin: Origin,
    /// The policy that named the network, if it was not the pod or the node.
    pub named_by: Option<String>,
    /// The selection, edited or not.
    pub selection: Selection,
}

/// One attachment, before or after its ADD, as a policy sees and edits it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAttachment {
    /// `namespace/name` of the NAD, or the name of the conf.
    pub network: String,
    /// Interface inside the pod.
    pub if_name: String,
    /// Whether this is the cluster's default network, whose interface cannot be changed.
    pub is_default: bool,
    /// Index of the chosen selection that it comes from, if any: what policies set there is owned
    /// here.
    pub selection: Option<usize>,
    /// The stored conf or conflist, unknown keys included.
    #[serde(deserialize_with = "document")]
    pub conf: Document,
    /// The ips capability: addresses or CIDRs.
    pub ips: Vec<String>,
    /// The mac capability.
    pub mac: Option<String>,
    /// The bandwidth capability.
    pub bandwidth: Option<Bandwidth>,
    /// The portMappings capability.
    pub port_mappings: Vec<PortMapping>,
    /// The infinibandGUID capability.
    pub infiniband_guid: Option<String>,
    /// The `cni-args` object of the selection, merged into `args.cni` of the conf.
    #[serde(default, with = "optional_document")]
    pub cni_args: Option<Document>,
    /// What policies see and cannot change.
    #[serde(default)]
    pub fixed: Fixed,
    /// Whether a policy leaves the network out.
    #[serde(default)]
    pub skipped: bool,
}

impl PolicyAttachment {
    /// An attachment with this conf alone.
    pub fn new(network: impl Into<String>, if_name: impl Into<String>, conf: Document) -> Self {
        Self {
            network: network.into(),
            if_name: if_name.into(),
            is_default: false,
            selection: None,
            conf,
            ips: Vec::new(),
            mac: None,
            bandwidth: None,
            port_mappings: Vec::new(),
            infiniband_guid: None,
            cni_args: None,
            fixed: Fixed::default(),
            skipped: false,
        }
    }
}

/// What policies see of an attachment and cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fixed {
    /// The resource from which its device was allocated.
    pub resource_name: Option<String>,
    /// Its device.
    pub device_id: Option<String>,
    /// Gateways of the pod's default routes through this network.
    pub default_route: Vec<String>,
    /// JSON object: the arguments of all capabilities. Those that policies can set may be absent.
    pub runtime_config: String,
}

fn document<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Document::parse(raw.get(), Limits::default()).map_err(serde::de::Error::custom)
}

mod optional_document {
    use super::{Deserialize as _, Document, Limits, RawValue};

    pub(super) fn serialize<S: serde::Serializer>(
        document: &Option<Document>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match document {
            Some(document) => serializer.serialize_some(document),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Document>, D::Error> {
        let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
        let parsed = raw.map(|raw| Document::parse(raw.get(), Limits::default()));
        parsed.transpose().map_err(serde::de::Error::custom)
    }
}
