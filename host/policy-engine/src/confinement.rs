//! What the daemon tells the process that compiles a module.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How lines begin in which the compiler says what it could not give up.
pub(crate) const NOTE: &str = "note: ";

/// What the process gives up before it reads a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Confinement {
    /// The process with which it ends.
    pub(crate) parent: u32,
    /// Bytes of memory.
    pub(crate) memory_bytes: u64,
    /// Processor time.
    pub(crate) seconds: u64,
    /// The control group that it moves to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup: Option<PathBuf>,
}
