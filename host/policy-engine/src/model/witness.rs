//! A port for watching each call of a policy: the command line shows and compares them.

use std::fmt::Debug;
use std::time::Duration;

use crate::model::policy::Mode;
use crate::model::ports::Verdict;
use crate::model::report::{AppliedEdit, Denied, Finding, Hook};

/// Watches each call of a policy. Called while requests are served; all methods default to nothing.
pub trait Witness: Debug + Send + Sync {
    /// A hook call ended. Called before what it edited or denied is reported.
    fn called(&self, _call: &Call<'_>) {}
    /// A policy logged a line within its limits.
    fn logged(&self, _hook: Hook, _severity: Level, _line: &str) {}
    /// A policy's edits were applied or, in audit mode, would have been.
    fn edited(&self, _edit: &AppliedEdit, _mode: Mode) {}
    /// A policy, or its failure, denies the request or, in audit mode, would have.
    fn denied(&self, _denied: &Denied, _mode: Mode) {}
    /// A policy reported a finding.
    fn found(&self, _finding: &Finding) {}
    /// A policy called a function that needs this grant.
    fn used(&self, _grant: &'static str) {}
}

/// One call of one hook.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub hook: Hook,
    /// `namespace/name` of the network, and the interface, in hooks of one attachment.
    pub attachment: Option<(&'a str, &'a str)>,
    /// How the call ended.
    pub verdict: Verdict,
    /// Wall clock of the call, without instantiation.
    pub duration: Duration,
    /// Bytes of the instance's memories, and the policy's limit.
    pub memory: (u64, u64),
    /// Lines logged in the request so far, and the policy's limit.
    pub log_lines: (u64, u64),
}

/// How important a line of log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Something unexpected.
    Warn,
    /// A failure, such as a panic's message.
    Error,
}

impl Level {
    /// The level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
