//! Parses the pods and NADs of one manifest file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cni_types::json::Cause;
use cnidaria_core::domain::manifest::{Manifest, Object};
use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::Pod;
use files::Links;

/// The objects of one or of all files.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    pods: BTreeMap<(String, String), Arc<Pod>>,
    nads: BTreeMap<(String, String), Arc<Nad>>,
    namespaces: BTreeMap<String, Arc<Metadata>>,
    nodes: BTreeMap<String, Arc<Metadata>>,
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

    pub(super) fn all_nads(&self) -> Vec<Nad> {
        let all = self.nads.values();
        all.map(|nad| nad.as_ref().clone()).collect()
    }

    pub(super) fn namespace(&self, name: &str) -> Option<Metadata> {
        self.namespaces
            .get(name)
            .map(|found| found.as_ref().clone())
    }

    pub(super) fn node(&self, name: &str) -> Option<Metadata> {
        self.nodes.get(name).map(|found| found.as_ref().clone())
    }

    /// Adds another file's objects, which override existing ones.
    pub(super) fn merge(&mut self, other: &Objects) {
        self.pods.extend(other.pods.clone());
        self.nads.extend(other.nads.clone());
        self.namespaces.extend(other.namespaces.clone());
        self.nodes.extend(other.nodes.clone());
    }

    fn add(&mut self, manifest: Manifest) {
        for object in manifest.objects() {
            match object {
                Object::Pod(pod) => {
                    let key = (pod.namespace.clone(), pod.name.clone());
                    self.pods.insert(key, Arc::new(pod));
                }
                Object::Nad(nad) => {
                    let key = (nad.namespace.clone(), nad.name.clone());
                    self.nads.insert(key, Arc::new(nad));
                }
                Object::Namespace(name, metadata) => {
                    self.namespaces.insert(name, Arc::new(metadata));
                }
                Object::Node(name, metadata) => {
                    self.nodes.insert(name, Arc::new(metadata));
                }
            }
        }
    }
}

/// Reads a file. Links are followed, since a ConfigMap's files are links.
fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let bytes = files::read(path, Links::Follow, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8"))
}

/// Parses a file of at most `max_bytes`.
///
/// # Errors
/// The reason, without the file's name.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<Objects, String> {
    let text = read_text(path, max_bytes).map_err(|error| error.to_string())?;
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
