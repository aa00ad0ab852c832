//! Kubernetes manifests: the members that requests need, and the objects that they describe.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::container_names::DEFAULT_NAMESPACE;
use super::metadata::Metadata;
use super::nad::{Config, Nad};
use super::pod::{OwnerReference, Pod, PodIdentity};
use super::resource_claim::PodClaims;

/// Whether a file's name is that of a manifest: `.yaml`, `.yml` or `.json`, and not hidden.
pub fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path
        .extension()
        .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    known && !hidden
}

/// An object that a manifest describes.
#[derive(Debug, Clone)]
pub enum Object {
    /// A pod, without resource claims: those need a scheduler to allocate them.
    Pod(Pod),
    /// A network attachment definition.
    Nad(Nad),
    /// A namespace and its name.
    Namespace(String, Metadata),
    /// A node and its name.
    Node(String, Metadata),
}

/// A manifest, or a list of them. Other members are ignored.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<Spec>,
    #[serde(default)]
    items: Option<Vec<Manifest>>,
}

#[derive(Debug, Default, Deserialize)]
struct ObjectMeta {
    #[serde(default)]
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "ownerReferences")]
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    config: Option<Config>,
    #[serde(rename = "serviceAccountName")]
    service_account_name: Option<Box<str>>,
    #[serde(rename = "hostNetwork")]
    host_network: Option<bool>,
}

impl Manifest {
    /// The described objects; those of other kinds are left out.
    pub fn objects(self) -> Vec<Object> {
        match self.items {
            Some(items) => items.into_iter().flat_map(Self::objects).collect(),
            None => self.object().into_iter().collect(),
        }
    }

    fn object(self) -> Option<Object> {
        let ObjectMeta {
            name,
            namespace,
            uid,
            labels,
            annotations,
            owner_references,
        } = self.metadata;
        let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let labels = labels.unwrap_or_default();
        let annotations = annotations.unwrap_or_default();
        match self.kind.as_str() {
            "Pod" => {
                let spec = self.spec.unwrap_or_default();
                let owners = owner_references.unwrap_or_default();
                let (account, host_network) = (spec.service_account_name, spec.host_network);
                Some(Object::Pod(Pod {
                    namespace,
                    name,
                    uid: uid.unwrap_or_default(),
                    labels,
                    annotations,
                    claims: PodClaims::default(),
                    identity: PodIdentity::new(account, host_network, owners),
                }))
            }
            "NetworkAttachmentDefinition" => {
                let config = self.spec.and_then(|spec| spec.config);
                let (config, mistyped_config) = Config::split(config);
                Some(Object::Nad(Nad {
                    namespace,
                    name,
                    config,
                    mistyped_config,
                    annotations,
                }))
            }
            "Namespace" => Some(Object::Namespace(
                name,
                Metadata {
                    labels,
                    annotations,
                },
            )),
            "Node" => Some(Object::Node(
                name,
                Metadata {
                    labels,
                    annotations,
                },
            )),
            _ => None,
        }
    }
}
