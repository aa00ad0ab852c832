//! Mistakes in a file of cases, with file, line, column and key.

use std::io;
use std::path::{Path, PathBuf};

use serde_saphyr::Location;

use crate::manifests;
use crate::tree::Tree;

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
        self.wrong(error.location(), manifests::message(error))
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
