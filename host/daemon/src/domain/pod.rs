//! The pod that a request is for, trimmed to what a request needs of it.

use std::collections::BTreeMap;
use std::fmt;

use super::resource_claim::PodClaims;

/// The annotation by which a pod asks for networks.
pub const NETWORKS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/networks";
/// The annotation by which a pod replaces the default network.
pub const DEFAULT_NETWORK_ANNOTATION: &str = "v1.multus-cni.io/default-network";
/// The annotation that tells what was attached.
pub const NETWORK_STATUS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/network-status";
/// The kubelet's mark of where it has a pod from; anything but `api` is a static pod.
const CONFIG_SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// The kubelet's mark of a pod that it made in the API server to mirror a static one.
const CONFIG_MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Which pod: its name, and its uid where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// The API server's uid; empty when neither the runtime nor a lookup told it.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod as the cluster has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// The API server's uid.
    pub uid: String,
    /// Labels, as the author of the pod set them.
    pub labels: BTreeMap<String, String>,
    /// Annotations, hostile until they are parsed.
    pub annotations: BTreeMap<String, String>,
    /// What it claims of dynamic resources.
    pub claims: PodClaims,
}

impl Pod {
    /// The reference that requests, ledger and logs carry.
    pub fn reference(&self) -> PodRef {
        PodRef {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    /// Whether the kubelet has this pod from a file of the node. The API server then holds a mirror
    /// pod with a uid of its own, so uids cannot be compared.
    pub fn is_static(&self) -> bool {
        self.annotations
            .get(CONFIG_SOURCE_ANNOTATION)
            .is_some_and(|source| source != "api")
            || self.annotations.contains_key(CONFIG_MIRROR_ANNOTATION)
    }

    /// The networks annotation; `None` where the pod asks for none.
    pub fn networks_annotation(&self) -> Option<&str> {
        self.filled_annotation(NETWORKS_ANNOTATION)
    }

    /// The annotation that replaces the default network; `None` where it is blank.
    pub fn default_network_annotation(&self) -> Option<&str> {
        self.filled_annotation(DEFAULT_NETWORK_ANNOTATION)
    }

    fn filled_annotation(&self, name: &str) -> Option<&str> {
        let text = self.annotations.get(name)?;
        Some(text.as_str()).filter(|text| !text.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_static_when_its_source_is_not_the_api() {
        let mut pod = Pod::default();
        assert!(!pod.is_static());
        pod.annotations
            .insert(CONFIG_SOURCE_ANNOTATION.into(), "api".into());
        assert!(!pod.is_static());
        pod.annotations
            .insert(CONFIG_SOURCE_ANNOTATION.into(), "file".into());
        assert!(pod.is_static());
    }

    #[test]
    fn a_blank_annotation_asks_for_nothing() {
        for blank in ["", " ", "\t\n "] {
            let mut pod = Pod::default();
            for name in [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION] {
                pod.annotations.insert(name.into(), blank.into());
            }
            assert_eq!(pod.networks_annotation(), None);
            assert_eq!(pod.default_network_annotation(), None);
        }
    }
}
