//! The Kubernetes pod of a call, which runtimes name in the `K8S_POD_*` arguments of `CNI_ARGS`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies a pod by name and, if known, uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The API server's uid; empty if unknown.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
