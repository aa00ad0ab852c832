//! How the daemon asks its compiler process to confine itself.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::model::grant::Grant;

/// Prefix of lines in which the compiler reports privileges that it could not drop.
pub(crate) const NOTE: &str = "note: ";

/// What the process does, and what it drops or limits before it reads a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Confinement {
    /// The parent's process id; the process ends with it.
    pub(crate) parent: u32,
    /// Memory limit in bytes.
    pub(crate) memory_bytes: u64,
    /// Processor time limit in seconds.
    pub(crate) seconds: u64,
    /// The control group to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Runs a compiled module instead of compiling one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dry_run: Option<DryRun>,
}

/// A first instance of a compiled module. The process reads its settings instead of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DryRun {
    /// The compiled module.
    pub(crate) artefact: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) grants: BTreeSet<Grant>,
}
