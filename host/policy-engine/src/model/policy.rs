//! A policy as the daemon and the command line see it.

use std::path::PathBuf;
use std::sync::Arc;

use super::description::Description;
use super::report::Hook;
use super::words::words;

/// Whether a policy's decisions count, are only logged, or are not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Edits and verdicts count.
    #[default]
    Enforce,
    /// Runs on a shadow: edits and denials are only logged.
    Audit,
    /// Does not run.
    Off,
}

words!(Mode {
    Enforce: "enforce",
    Audit: "audit",
    Off: "off",
});

impl Mode {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Off => "off",
        }
    }
}

/// The current state of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadState {
    /// Loaded as it is in the directory.
    Loaded,
    /// The newest files do not load; the last good configuration is in force.
    Stale,
    /// Not loaded yet, for example while its module is being compiled; counts as broken.
    Loading,
    /// Does not load; requests that it would have seen fail closed.
    Broken,
    /// Not loaded because the previous daemon, or a dry run, ended while it ran the module; counts
    /// as broken until an operator releases it.
    Quarantined,
    /// Switched off.
    Off,
}

impl LoadState {
    /// The name that `cnidaria policy list` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Stale => "stale",
            Self::Loading => "loading",
            Self::Broken => "broken",
            Self::Quarantined => "quarantined",
            Self::Off => "off",
        }
    }
}

/// A call of a policy that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// What failed, and why.
    pub error: String,
    /// When, in seconds since 1970.
    pub at_unix_seconds: u64,
    /// [`PolicyInfo::load`] of the policy that was called.
    pub load: u64,
    /// Digest of its module.
    pub digest: Option<String>,
}

/// One policy as `cnidaria policy list` shows it.
#[derive(Debug, Clone)]
pub struct PolicyInfo {
    /// Name, which also determines the order.
    pub name: String,
    /// The file that defines the policy.
    pub file: PathBuf,
    pub state: LoadState,
    /// Digest of the module, `sha256:…`, if it could be read.
    pub digest: Option<String>,
    /// The hooks that the module has.
    pub hooks: Vec<Hook>,
    /// Enforce, audit or off.
    pub mode: Mode,
    /// Whether STATUS fails without it.
    pub required: bool,
    /// Grants that the module asks for, by import.
    pub asked: Vec<String>,
    /// What the module says of itself.
    pub description: Option<Arc<Description>>,
    /// Grants that the configuration gives.
    pub granted: Vec<String>,
    /// The last failure, of a load or a hook.
    pub last_error: Option<String>,
    /// What was wrong with the file of its state, if it was damaged.
    pub state_error: Option<String>,
    /// The last call that failed, also one of an earlier load.
    pub last_failure: Option<LastFailure>,
    /// How often the policy was loaded, each time with other files.
    pub load: u64,
    /// Number of calls since it was first loaded.
    pub evaluations: u64,
    /// Number of denials.
    pub denials: u64,
    /// Number of failures.
    pub failures: u64,
}
