//! Parses the pods and NADs of one manifest file.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use cni_types::json::Cause;
use rustix::fs::OFlags;
use serde::Deserialize;

use cnidaria_core::domain::metadata as domain;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::Pod;
use cnidaria_core::domain::resource_claim::PodClaims;

/// Larger manifests are not read, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// The objects of one or of all files.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    pods: BTreeMap<(String, String), Arc<Pod>>,
    nads: BTreeMap<(String, String), Arc<Nad>>,
    namespaces: BTreeMap<String, domain::Metadata>,
    nodes: BTreeMap<String, domain::Metadata>,
}

impl Objects {
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.pods
            .get(&(namespace.to_owned(), name.to_owned()))
            .map(|found| found.as_ref().clone())
    }

    pub(super) fn nad(&self, namespace: &str, name: &str) -> Option<Nad> {
        self.nads
            .get(&(namespace.to_owned(), name.to_owned()))
            .map(|found| found.as_ref().clone())
    }

    pub(super) fn namespace(&self, name: &str) -> Option<domain::Metadata> {
        self.namespaces.get(name).cloned()
    }

    pub(super) fn node(&self, name: &str) -> Option<domain::Metadata> {
        self.nodes.get(name).cloned()
    }

    /// Adds another file's objects, which override existing ones.
    pub(super) fn merge(&mut self, other: &Objects) {
        self.pods.extend(other.pods.clone());
        self.nads.extend(other.nads.clone());
        self.namespaces.extend(other.namespaces.clone());
        self.nodes.extend(other.nodes.clone());
    }

    fn add(&mut self, manifest: Manifest) {
        if let Some(items) = manifest.items {
            items.into_iter().for_each(|item| self.add(item));
            return;
        }
        let metadata = manifest.metadata;
        let namespace = metadata.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let key = (namespace.clone(), metadata.name.clone());
        match manifest.kind.as_str() {
            "Pod" => {
                let pod = Pod {
                    namespace,
                    name: metadata.name,
                    uid: metadata.uid.unwrap_or_default(),
                    labels: metadata.labels.unwrap_or_default(),
                    annotations: metadata.annotations.unwrap_or_default(),
                    // Claims need a scheduler to allocate them; there is none.
                    claims: PodClaims::default(),
                };
                self.pods.insert(key, Arc::new(pod));
            }
            "NetworkAttachmentDefinition" => {
                let nad = Nad {
                    namespace,
                    name: metadata.name,
                    config: manifest
                        .spec
                        .and_then(|spec| spec.config)
                        .filter(|text| !text.is_empty()),
                    annotations: metadata.annotations.unwrap_or_default(),
                };
                self.nads.insert(key, Arc::new(nad));
            }
            "Namespace" => {
                self.namespaces
                    .insert(metadata.name.clone(), metadata.said());
            }
            "Node" => {
                self.nodes.insert(metadata.name.clone(), metadata.said());
            }
            // Ignore other kinds.
            _ => {}
        }
    }
}

/// The members that are needed; others are ignored.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Option<Spec>,
    #[serde(default)]
    items: Option<Vec<Manifest>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Metadata {
    fn said(self) -> domain::Metadata {
        domain::Metadata {
            labels: self.labels.unwrap_or_default(),
            annotations: self.annotations.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct Spec {
    config: Option<String>,
}

/// Whether a file's name is that of a manifest.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path
        .extension()
        .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    known && !hidden
}

/// Reads a file. Links are followed, since a ConfigMap's files are links.
fn read_text(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new()
        .read(true)
        // Non-blocking, so that a FIFO cannot stall the daemon.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// Parses a file.
///
/// # Errors
/// The reason, without the file's name.
pub(super) fn read(path: &Path) -> Result<Objects, String> {
    let text = read_text(path).map_err(|error| error.to_string())?;
    let mut objects = Objects::default();
    if path.extension().is_some_and(|e| e == "json") {
        objects.add(serde_json::from_str(&text).map_err(|error| Cause::from(error).to_string())?);
    } else {
        let documents: Vec<Manifest> = yaml::typed(&text)?;
        documents
            .into_iter()
            .for_each(|document| objects.add(document));
    }
    Ok(objects)
}
