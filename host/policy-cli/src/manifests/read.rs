//! Reads manifests.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cnidaria_core::domain::manifest::{Manifest, is_manifest};
use serde_saphyr::{Location, Spanned};

use super::Objects;
use crate::tree::Tree;
use crate::{suggest, text};

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is not a manifest.
    #[error("{path}{at}  {reason}", path = path.display())]
    Syntax {
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
    let text = text::read(path).map_err(|unreadable| match unreadable {
        text::Unreadable::Io(source) => Error::Read {
            path: path.to_owned(),
            source,
        },
        text::Unreadable::Encoding(wrong) => Error::Syntax {
            path: path.to_owned(),
            at: format!(":{}:{}", wrong.line, wrong.column),
            reason: wrong.reason,
        },
    })?;
    // JSON is YAML too.
    let documents: Vec<Option<Manifest>> = serde_saphyr::from_multiple(&text).map_err(|error| {
        let at = error.location();
        let key = at.map(|at| Tree::of(&text).path(at)).unwrap_or_default();
        let reason = message(&error);
        Error::Syntax {
            path: path.to_owned(),
            at: place(at),
            reason: match key.is_empty() {
                true => reason,
                false => format!("{key}: {reason}"),
            },
        }
    })?;
    let mut objects = Objects::default();
    for object in documents.into_iter().flatten().flat_map(Manifest::objects) {
        objects.add(object);
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
    for path in paths
        .iter()
        .filter(|path| is_manifest(path) && path.is_file())
    {
        objects.extend(file(path)?);
    }
    Ok(objects)
}

/// The first object of a file: where its kind is, and the kind.
pub(crate) fn first_kind(path: &Path) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: Spanned<String>,
    }
    let text = text::read(path).ok()?;
    let documents: Vec<Kind> = serde_saphyr::from_multiple(&text).ok()?;
    let kind = documents.into_iter().next()?.kind;
    Some((place(Some(kind.referenced)), kind.value))
}

/// Where the first object of a file should have its name, and the misspelt key and the key that was
/// probably meant.
pub(crate) fn unnamed(path: &Path) -> (String, Option<(String, &'static str)>) {
    type Members = BTreeMap<String, Spanned<serde_json::Value>>;
    let text = text::read(path).unwrap_or_else(|_| String::new());
    let documents: Vec<Members> = serde_saphyr::from_multiple(&text).unwrap_or_default();
    let Some(members) = documents.into_iter().next() else {
        return (String::new(), None);
    };
    let similar =
        |key: &str, meant| suggest::similar(key, &[meant]).map(|_| (key.to_owned(), meant));
    if let Some(metadata) = members.get("metadata") {
        let mut keys = metadata.value.as_object().into_iter().flatten();
        let misspelt = keys.find_map(|(key, _)| similar(key, "name"));
        return (place(Some(metadata.referenced)), misspelt);
    }
    let mut all = members.iter();
    let misspelt = all.find_map(|(key, value)| Some((value, similar(key, "metadata")?)));
    match misspelt {
        Some((value, misspelt)) => (place(Some(value.referenced)), Some(misspelt)),
        None => {
            let kind = members.get("kind").map(|kind| kind.referenced);
            (place(kind), None)
        }
    }
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

/// What is wrong; for an unknown key or value, with what was probably meant.
pub(crate) fn message(error: &serde_saphyr::Error) -> String {
    let unknown = |what: &str, name: &str, known: &[&str]| {
        format!("unknown {what} {name:?}; {}", suggest::hint(name, known))
    };
    match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField {
            field, expected, ..
        } => unknown("key", field, expected),
        serde_saphyr::Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{key:?} is given more than once")
        }
        serde_saphyr::Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } => format!("expected {expected}, not {unexpected}"),
        serde_saphyr::Error::Unexpected { expected, .. } => {
            format!("expected {}", in_words(expected))
        }
        error => match plain(error) {
            number if ["invalid u32", "invalid u64"].contains(&number.as_str()) => {
                "expected a whole number".to_owned()
            }
            message => match message.strip_prefix("missing field ") {
                Some(key) => format!("the key {} is missing", key.replace('`', "\"")),
                None => message,
            },
        },
    }
}

/// What the parser expected, without its words for events.
fn in_words(expected: &str) -> &str {
    match expected {
        "string scalar" | "scalar" | "string" => "a text",
        "sequence start" | "seq" => "a list",
        "mapping start" | "map" => "keys and values",
        expected => expected,
    }
}

/// What is wrong, without the place and the lines around it.
fn plain(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let line = message.lines().next().unwrap_or_default();
    let end = line.rfind(" at line ").unwrap_or(line.len());
    line.get(..end).unwrap_or_default().to_owned()
}
