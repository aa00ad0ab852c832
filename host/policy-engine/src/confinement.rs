//! How the daemon asks its compiler process to confine itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Prefix of lines in which the compiler reports privileges that it could not drop.
pub(crate) const NOTE: &str = "note: ";

/// What the process drops or limits before it reads a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Confinement {
    /// The parent's process id; the process ends with it.
    pub(crate) parent: u32,
    /// Memory limit in bytes.
    pub(crate) memory_bytes: u64,
    /// Processor time limit.
    pub(crate) seconds: u64,
    /// The control group to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup: Option<PathBuf>,
}
