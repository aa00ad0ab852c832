//! Bodies of [`crate::endpoint::EXPLAIN`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::admin::Pod;

/// Asks what an ADD would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The ADD, as the shim would send it: the body of a `POST /cni`.
    pub request: Box<RawValue>,
    /// The pod, in place of the cluster's pod of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<GivenPod>,
}

/// What networks depend on in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenPod {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What an ADD would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The pod; its uid is empty if the cluster does not have it.
    pub pod: Pod,
    /// Why the ADD would fail before its first delegate; missing if it would start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The networks in ADD order.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Misspelt annotations of the pod, and misspelt members in them, which the ADD ignores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// What the policies would do, in order.
    #[serde(default)]
    pub actions: Vec<PolicyAction>,
    /// The pod's attachments in the ledger now.
    #[serde(default)]
    pub recorded: Vec<Recorded>,
}

/// The CNI error that the ADD would answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The CNI error code.
    pub code: u32,
    /// What failed.
    pub message: String,
    /// Further details.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// A network that the pod would get.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// `namespace/name` of the NAD, or the name of the conf.
    pub network: String,
    /// The interface's name in the pod.
    pub if_name: String,
    /// Why the pod gets it.
    pub origin: String,
    /// The conf of its delegates, after the policies.
    pub conf: Box<RawValue>,
    /// The delegates' `CNI_ARGS`.
    pub cni_args: String,
    /// Arguments of all capabilities; each plugin gets those it declares.
    pub capability_args: Box<RawValue>,
    /// Id of the allocated device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Requested capabilities without effect, because no plugin of the network declares them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untaken: Vec<String>,
}

/// Something that a policy would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAction {
    /// Name of the policy.
    pub policy: String,
    /// The hook, named as in the WIT package.
    pub hook: String,
    /// The interface, in hooks of one attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_name: Option<String>,
    /// False in audit mode: the policy only reports it.
    pub enforced: bool,
    /// What it would do.
    #[serde(flatten)]
    pub action: Action,
}

/// What a policy would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Edit what the hook offers.
    Edit {
        /// A JSON patch (RFC 6902); operations that do not fit into 16 KiB are missing.
        patch: Vec<Operation>,
    },
    /// Deny the request.
    Deny {
        /// The CNI error code.
        code: u32,
        /// The reason.
        message: String,
    },
    /// Report a finding.
    Finding {
        /// The finding's code.
        code: String,
        /// The finding's text.
        message: String,
    },
    /// An action of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// An operation of a JSON patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// `add`, `remove` or `replace`.
    pub op: String,
    /// RFC 6901 pointer.
    pub path: String,
    /// The new value; missing if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A recorded attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Container id of the sandbox.
    pub container_id: String,
    /// The interface's name in the pod.
    pub if_name: String,
    /// The network's name.
    pub network: String,
    /// Whether its delegates have returned a result.
    pub attached: bool,
}
