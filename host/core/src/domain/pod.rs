//! The pod of a request, reduced to what requests need.

use std::collections::BTreeMap;

pub use cni_types::pod::PodRef;

use serde::Deserialize;

use super::members;
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

/// Maximum number of a pod's annotations whose keys are compared; a hostile pod may have thousands.
const MAX_COMPARED: usize = 256;
/// Maximum number of misspelt keys reported for a pod.
const MAX_MISSPELT: usize = 3;

/// The annotation that `key` probably misspells. Both of its parts must be similar: other
/// annotations share the domain, or the name, with those of networks.
fn misspells(key: &str) -> Option<&'static str> {
    let (domain, name) = key.split_once('/')?;
    let meant = |known: &&'static str| {
        let parts = known.split_once('/').filter(|_| *known != key);
        parts.is_some_and(|(its_domain, its_name)| {
            members::similar(&[its_name], name).is_some()
                && members::similar(&[its_domain], domain).is_some()
        })
    };
    [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION]
        .into_iter()
        .find(|known| meant(known))
}

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

    /// The pod's annotations that probably misspell one of the two that select networks, with the
    /// right key: the first ones.
    pub(crate) fn misspelt_annotations(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.annotations
            .keys()
            .take(MAX_COMPARED)
            .filter_map(|key| Some((key.as_str(), misspells(key)?)))
            .take(MAX_MISSPELT)
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
    fn misspelt_annotations_are_found() {
        for (key, meant) in [
            ("k8s.v1.cni.cncf.io/Networks", Some(NETWORKS_ANNOTATION)),
            ("k8s.v1.cni.cncf.io/network", Some(NETWORKS_ANNOTATION)),
            ("k8s.v1.cni.cnf.io/networks", Some(NETWORKS_ANNOTATION)),
            ("k8s.cni.cncf.io/netwroks", Some(NETWORKS_ANNOTATION)),
            (
                "v1.multus-cni.io/default-networks",
                Some(DEFAULT_NETWORK_ANNOTATION),
            ),
            (
                "k8s.v1.multus-cni.io/default-network",
                Some(DEFAULT_NETWORK_ANNOTATION),
            ),
            (NETWORKS_ANNOTATION, None),
            (DEFAULT_NETWORK_ANNOTATION, None),
            (NETWORK_STATUS_ANNOTATION, None),
            ("k8s.v1.cni.cncf.io/networks-status", None),
            ("k8s.v1.cni.cncf.io/resourceName", None),
            ("k8s.ovn.org/networks", None),
            ("networks", None),
            (CONFIG_SOURCE_ANNOTATION, None),
        ] {
            assert_eq!(misspells(key), meant, "{key}");
        }
    }

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
