//! What the daemon tells a policy about: plain host types without any knowledge of WebAssembly.
//!
//! CIDRs and MACs in them are canonical before a guest sees them: the session normalises what it
//! is given and refuses nothing here, because the daemon validated the request already.

use std::collections::BTreeMap;
use std::fmt;

use cni_types::json::Document;

/// The CNI verb of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// A pod gets its networks.
    Add,
    /// A pod loses its networks.
    Del,
    /// The runtime asks whether the networks are still as ADD left them.
    Check,
    /// What is not in use any more is removed.
    Gc,
    /// The runtime asks whether ADDs would succeed.
    Status,
}

impl Command {
    /// The verb as `CNI_COMMAND` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The pod that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// The pod's uid, empty where nobody told it.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known about a request before any network is resolved.
#[derive(Debug, Clone)]
pub struct RequestFacts {
    /// The verb.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC and STATUS.
    pub container_id: String,
    /// Absent for GC and STATUS.
    pub pod: Option<PodRef>,
    /// Labels of the pod; empty where DEL has no pod object any more.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod; empty where DEL has no pod object any more.
    pub annotations: BTreeMap<String, String>,
    /// Labels of the pod's namespace, `None` where they are not known.
    ///
    /// A policy that matches on namespace labels is taken to match where they are not known, so
    /// that a guard cannot be avoided by hiding them.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Name of this node.
    pub node_name: String,
}

impl RequestFacts {
    /// The facts of a request that is about the node and no pod.
    pub(crate) fn of_node(command: Command) -> Self {
        Self {
            command,
            container_id: String::new(),
            pod: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: None,
            node_name: String::new(),
        }
    }
}

/// The bandwidth capability: bits per second and bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bandwidth {
    /// Rate towards the pod, bits per second.
    pub ingress_rate: u64,
    /// Burst towards the pod, bits.
    pub ingress_burst: u64,
    /// Rate from the pod, bits per second.
    pub egress_rate: u64,
    /// Burst from the pod, bits.
    pub egress_burst: u64,
}

/// One element of the portMappings capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// Port of the node.
    pub host_port: u16,
    /// Port of the pod.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Address of the node that listens, all of them when absent.
    pub host_ip: Option<String>,
}

/// One element of the networks that a pod asks for, before it is resolved.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// Namespace of the NAD.
    pub namespace: String,
    /// Name of the NAD.
    pub name: String,
    /// Interface that the pod asks for.
    pub if_name: Option<String>,
    /// Addresses or CIDRs that the pod asks for.
    pub ips: Vec<String>,
    /// MAC address that the pod asks for.
    pub mac: Option<String>,
    /// GUID for InfiniBand that the pod asks for.
    pub infiniband_guid: Option<String>,
    /// Bandwidth that the pod asks for.
    pub bandwidth: Option<Bandwidth>,
    /// Port mappings that the pod asks for.
    pub port_mappings: Vec<PortMapping>,
    /// Gateways that this network is asked to bring as default routes.
    pub default_route: Vec<String>,
    /// The `cni-args` object.
    pub cni_args: Option<Document>,
}

/// A selection after the select hook.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Index in what the hook was given; `None` for a selection that a policy added.
    ///
    /// With it the daemon carries members over that a policy cannot see.
    pub origin: Option<usize>,
    /// The selection, edited or not.
    pub selection: Selection,
}

/// One network that is about to be, or was, attached: what a policy sees and edits.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// `namespace/name` of the NAD, or the name of the conf.
    pub network: String,
    /// Interface inside the pod.
    pub if_name: String,
    /// Whether this is the cluster's default network, whose interface nobody may change.
    pub is_default: bool,
    /// The conf or conflist as it is stored, unknown keys included.
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
    /// The `cni-args` object of the selection, which goes into `args.cni` of the conf.
    pub cni_args: Option<Document>,
}
