//! The pod of a request, reduced to what requests need.

use std::collections::BTreeMap;

pub use cni_types::pod::PodRef;

use serde::Deserialize;

use super::resource_claim::{ClaimReference, PodClaims, PodClaimsStatus, null_is_default};

/// The annotation that selects a pod's networks.
pub const NETWORKS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/networks";
/// The annotation that replaces a pod's default network.
pub const DEFAULT_NETWORK_ANNOTATION: &str = "v1.multus-cni.io/default-network";
/// The annotation that reports what was attached.
pub const NETWORK_STATUS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/network-status";
/// Set by the kubelet to the source of a pod; anything but `api` is a static pod.
const CONFIG_SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// Set by the kubelet on the mirror pods of static pods in the API server.
const CONFIG_MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// A pod from the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The API server's uid.
    pub uid: String,
    /// Labels, as set by the pod's author.
    pub labels: BTreeMap<String, String>,
    /// Annotations; untrusted until parsed.
    pub annotations: BTreeMap<String, String>,
    /// Claims for dynamic resources.
    pub claims: PodClaims,
    /// Who the pod belongs to, for policies.
    pub identity: PodIdentity,
}

/// Who a pod belongs to, and whether it has a network of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// Name of its service account.
    pub service_account: Option<Box<str>>,
    /// The object that controls it.
    pub owner: Option<Box<Owner>>,
    /// Whether it uses the node's network.
    pub host_network: bool,
}

/// A reference to the object that controls another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its kind, such as `ReplicaSet`.
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// A member of `metadata.ownerReferences`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    kind: String,
    name: String,
    uid: String,
    /// Whether the owner controls the object.
    controller: Option<bool>,
}

/// The fields of a pod's `spec` that requests need.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(deserialize_with = "null_is_default")]
    resource_claims: Vec<ClaimReference>,
    service_account_name: Option<Box<str>>,
    host_network: Option<bool>,
}

impl PodIdentity {
    /// Combines spec and owner references.
    pub fn new(
        service_account: Option<Box<str>>,
        host_network: Option<bool>,
        owners: Vec<OwnerReference>,
    ) -> Self {
        let mut owners = owners.into_iter();
        let controller = owners.find(|one| one.controller == Some(true));
        let owner = controller.map(|one| {
            let OwnerReference {
                kind, name, uid, ..
            } = one;
            Box::new(Owner { kind, name, uid })
        });
        Self {
            service_account: service_account.filter(|name| !name.is_empty()),
            owner,
            host_network: host_network.unwrap_or_default(),
        }
    }
}

impl PodSpec {
    /// The pod's claims and identity.
    pub fn split(
        self,
        status: PodClaimsStatus,
        owners: Vec<OwnerReference>,
    ) -> (PodClaims, PodIdentity) {
        let claims = PodClaims::new(self.resource_claims, status);
        let identity = PodIdentity::new(self.service_account_name, self.host_network, owners);
        (claims, identity)
    }
}

impl Pod {
    /// The reference used in requests, ledger and logs.
    pub fn reference(&self) -> PodRef {
        PodRef {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    /// Whether the kubelet read this pod from a file on the node. The API server then has a mirror
    /// pod with a uid of its own, so uids cannot be compared.
    pub fn is_static(&self) -> bool {
        self.annotations
            .get(CONFIG_SOURCE_ANNOTATION)
            .is_some_and(|source| source != "api")
            || self.annotations.contains_key(CONFIG_MIRROR_ANNOTATION)
    }

    /// The networks annotation; `None` if absent or blank.
    pub fn networks_annotation(&self) -> Option<&str> {
        self.filled_annotation(NETWORKS_ANNOTATION)
    }

    /// The default-network annotation; `None` if absent or blank.
    pub(crate) fn default_network_annotation(&self) -> Option<&str> {
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
    fn pod_with_non_api_source_is_static() {
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
