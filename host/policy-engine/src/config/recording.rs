//! Whether and where requests are recorded, and what recordings leave out.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Default limit of a recording in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// A recording of the requests that policies see.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// Directory of the recording, created with mode 0700.
    pub dir: PathBuf,
    /// Limit of all its files in bytes: the oldest requests make room.
    pub max_bytes: u64,
    /// Whether recording begins at once, or when an operator asks for it.
    pub at_start: bool,
    /// What is left out.
    pub redaction: Redaction,
}

impl Recording {
    /// A recording of at most 64 MiB that leaves nothing out and begins at once.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: MAX_BYTES,
            at_start: true,
            redaction: Redaction::default(),
        }
    }
}

/// Rules for values that recordings leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redaction {
    /// Names of annotations; a `*` at the end stands for any rest.
    pub annotations: Vec<String>,
    /// Keys of members in confs, results and other JSON, at any depth, in any case.
    pub keys: Vec<String>,
    /// JSON pointers into confs; the token `*` stands for any.
    pub pointers: Vec<String>,
}

impl Redaction {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.keys.is_empty() && self.pointers.is_empty()
    }
}
