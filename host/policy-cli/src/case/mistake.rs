//! Mistakes in a file of cases, with file, line, column and key.

use std::io;
use std::path::{Path, PathBuf};

use serde_saphyr::Location;

use super::tree::Tree;
use crate::manifests;
use crate::suggest;

/// Why a file of cases cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It has a mistake.
    #[error("{path}{at}  {reason}", path = path.display())]
    Mistake {
        path: PathBuf,
        /// `:line:column`, if known.
        at: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
}

/// The file that a mistake is in.
pub(super) struct CaseFile<'a> {
    pub(super) path: &'a Path,
    pub(super) tree: Tree,
}

impl CaseFile<'_> {
    /// A mistake at a place.
    pub(super) fn mistake(&self, at: Location, reason: impl Into<String>) -> Error {
        self.wrong(Some(at), reason.into())
    }

    /// A mistake that the parser found.
    pub(super) fn syntax(&self, error: &serde_saphyr::Error) -> Error {
        self.wrong(error.location(), reason(error))
    }

    fn wrong(&self, at: Option<Location>, reason: String) -> Error {
        let key = at.map(|at| self.tree.path(at)).unwrap_or_default();
        Error::Mistake {
            path: self.path.to_owned(),
            at: manifests::place(at),
            reason: match key.is_empty() {
                true => reason,
                false => format!("{key}: {reason}"),
            },
        }
    }
}

/// What is wrong; for an unknown key or value, with what was probably meant.
fn reason(error: &serde_saphyr::Error) -> String {
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
        error => match manifests::message(error) {
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
