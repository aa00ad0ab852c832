//! What a hook reports besides the edited value: denials, findings, and edits as JSON patches.

use std::fmt;

use cni_types::text::deceives;
use serde::{Deserialize, Serialize};

use super::patch::Patch;

/// A point in a request where policies run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Offers the settings, once per load.
    Configure,
    /// The selections of the pod, before they are resolved.
    Select,
    /// The selections after all policies.
    ValidateSelections,
    /// One attachment, before its delegate runs.
    BeforeAdd,
    /// All attachments after all policies, before the first delegate runs.
    ValidatePlan,
    /// One attachment and its delegate's result.
    AfterAdd,
    /// All attachments and the result of the request.
    Finalize,
    /// All attachments and the result of the request after all policies.
    ValidateResult,
    /// An ADD that failed and is undone.
    AddFailed,
    /// One stored attachment and its stored result.
    Check,
    /// Whether the node is ready.
    Status,
    /// One stored attachment that is being removed.
    Del,
    /// The attachments in use.
    Gc,
}

impl Hook {
    /// All hooks, in the order of a pod's life.
    pub const ALL: [Self; 13] = [
        Self::Configure,
        Self::Select,
        Self::ValidateSelections,
        Self::BeforeAdd,
        Self::ValidatePlan,
        Self::AfterAdd,
        Self::Finalize,
        Self::ValidateResult,
        Self::AddFailed,
        Self::Check,
        Self::Status,
        Self::Del,
        Self::Gc,
    ];

    /// The name in the WIT package.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Select => "select",
            Self::ValidateSelections => "validate-selections",
            Self::BeforeAdd => "before-add",
            Self::ValidatePlan => "validate-plan",
            Self::AfterAdd => "after-add",
            Self::Finalize => "finalize",
            Self::ValidateResult => "validate-result",
            Self::AddFailed => "add-failed",
            Self::Check => "check",
            Self::Status => "status",
            Self::Del => "del",
            Self::Gc => "gc",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The policy denied it.
    Policy,
    /// The policy trapped or panicked.
    Trap,
    /// The policy did not return in time.
    Timeout,
    /// The policy exceeded a limit other than time.
    Limit,
    /// The policy is not loaded.
    Load,
    /// Two policies set one path to different values, or the combined edits broke an invariant.
    Conflict,
}

impl Cause {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Load => "load",
            Self::Conflict => "conflict",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy, or its failure, denies the request. All edits of the hook are dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy:?} denied in hook {hook}: {message}")]
pub struct Denied {
    /// Name of the policy.
    pub policy: String,
    /// The hook that was running.
    pub hook: Hook,
    /// CNI error code: 100 or above, or [`Denied::TRY_AGAIN`].
    pub code: u32,
    /// The reason, without the policy's name.
    pub message: String,
    /// Further details for the operator.
    pub details: Option<String>,
    /// Why the request was denied.
    pub cause: Cause,
    /// Findings reported before the denial.
    pub findings: Vec<Finding>,
}

impl Denied {
    /// The lowest code a policy may use, and the code of failures that have none.
    pub(crate) const FIRST_CODE: u32 = 100;

    /// The code for a policy that is not loaded yet.
    pub const TRY_AGAIN: u32 = 11;
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Logged.
    Info,
    /// Logged, and an Event of the pod.
    Warning,
}

/// Why an ADD failed, for the policies that saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AddFailure {
    /// The CNI error code of the policy or the delegate, if one of them is the reason.
    pub code: Option<u32>,
    /// The reason.
    pub message: String,
    /// The policy that denied or failed, and its hook.
    pub denied_by: Option<(String, String)>,
}

/// What a policy, or the engine about a policy, reports without deciding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the policy.
    pub policy: String,
    /// The hook that was running.
    pub hook: Hook,
    /// How much it matters.
    pub severity: Severity,
    /// A short code that the policy chooses; the engine's codes begin with `policy-`.
    pub code: String,
    /// The text for the operator.
    pub message: String,
    /// Names and values for the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// What one policy changed in one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedEdit {
    /// Name of the policy.
    pub policy: String,
    /// Digest of its module, `sha256:…`.
    pub digest: String,
    /// The hook that was running.
    pub hook: Hook,
    /// The changes of the edited value, whose text has at most 16 KiB.
    pub patch: Patch,
    /// Number of trailing operations that did not fit into the patch.
    pub omitted: usize,
}

/// What happened in one hook.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The applied edits, in policy order.
    pub edits: Vec<AppliedEdit>,
    /// What policies in audit mode would have changed.
    pub audited: Vec<AppliedEdit>,
    /// Findings of the policies and of the engine.
    pub findings: Vec<Finding>,
}

/// Makes guest text safe for logs, errors and Events: one line, at most `max` bytes.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max));
    for c in text.trim().chars() {
        let c = if deceives(c) { ' ' } else { c };
        if cleaned.len() + c.len_utf8() > max.saturating_sub('…'.len_utf8()) {
            cleaned.push('…');
            break;
        }
        cleaned.push(c);
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_guests_stays_on_one_line_and_short() {
        let check = |text: &str, max: usize, expected: &str| assert_eq!(clean(text, max), expected);
        check("  plain  ", 100, "plain");
        check("a\nb\u{1b}[31mc\u{202e}", 100, "a b [31mc ");
        check("1234567890", 8, "12345…");
        check("ääääää", 8, "ää…");
        check("", 8, "");
    }
}
