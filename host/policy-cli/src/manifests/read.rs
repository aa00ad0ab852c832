//! Reads manifests.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cnidaria_core::domain::metadata::Metadata as Object;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::Pod;
use cnidaria_core::domain::resource_claim::PodClaims;
use serde::Deserialize;
use serde_saphyr::Location;

use super::Objects;

/// The namespace of objects that name none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is not a manifest.
    #[error("{path}{at}  {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// `:line:column`, if known.
        at: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads one file.
///
/// # Errors
/// [`Error`] with file, line and column.
pub(crate) fn file(path: &Path) -> Result<Objects, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    // JSON is YAML too.
    let documents: Vec<Option<Manifest>> =
        serde_saphyr::from_multiple(&text).map_err(|error| Error::Syntax {
            path: path.to_owned(),
            at: place(error.location()),
            reason: message(&error),
        })?;
    let mut objects = Objects::default();
    for document in documents.into_iter().flatten() {
        add(&mut objects, document);
    }
    Ok(objects)
}

/// Reads a file, or all manifests of a directory.
///
/// # Errors
/// As [`file`].
pub(crate) fn files(path: &Path) -> Result<Objects, Error> {
    if !path.is_dir() {
        return file(path);
    }
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let mut objects = Objects::default();
    for path in paths.iter().filter(|path| is_manifest(path)) {
        objects.extend(file(path)?);
    }
    Ok(objects)
}

/// `:line:column` of a place in YAML.
pub(crate) fn place(location: Option<Location>) -> String {
    match location {
        Some(location) if location.line() > 0 => {
            format!(":{}:{}", location.line(), location.column())
        }
        _ => String::new(),
    }
}

/// What is wrong, without the place and the lines around it.
pub(crate) fn message(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let line = message.lines().next().unwrap_or_default();
    let end = line.rfind(" at line ").unwrap_or(line.len());
    line.get(..end).unwrap_or_default().to_owned()
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let known = [".yaml", ".yml", ".json"];
    !name.starts_with('.') && known.iter().any(|ending| name.ends_with(ending)) && path.is_file()
}

fn add(objects: &mut Objects, manifest: Manifest) {
    if let Some(items) = manifest.items {
        items.into_iter().for_each(|item| add(objects, item));
        return;
    }
    let metadata = manifest.metadata;
    let namespace = metadata
        .namespace
        .clone()
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    match manifest.kind.as_str() {
        "Pod" => objects.add_pod(Pod {
            namespace,
            name: metadata.name,
            uid: metadata.uid.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            claims: PodClaims::default(),
        }),
        "NetworkAttachmentDefinition" => objects.add_nad(Nad {
            namespace,
            name: metadata.name,
            config: manifest
                .spec
                .and_then(|spec| spec.config)
                .filter(|text| !text.is_empty()),
            annotations: metadata.annotations.unwrap_or_default(),
        }),
        "Namespace" => objects.add_namespace(metadata.name.clone(), metadata.object()),
        "Node" => objects.add_node(metadata.name.clone(), metadata.object()),
        _ => {}
    }
}

/// The members that matter; others are ignored.
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
    fn object(self) -> Object {
        Object {
            labels: self.labels.unwrap_or_default(),
            annotations: self.annotations.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct Spec {
    config: Option<String>,
}
