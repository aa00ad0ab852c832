//! What comes out of a hook beside the edited thing: denials, findings and the edits as JSON patches.

use std::fmt;

/// A point in a request where policies run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Settings are offered, once for each load.
    Configure,
    /// The selections of the pod, before they are resolved.
    Select,
    /// One attachment, before its delegate runs.
    BeforeAdd,
    /// One attachment and what its delegate answered.
    AfterAdd,
    /// All attachments and the result of the request.
    Finalize,
    /// One stored attachment and its stored result.
    Check,
    /// The node.
    Status,
    /// One stored attachment that goes away.
    Del,
    /// The attachments that are in use.
    Gc,
}

impl Hook {
    /// All hooks in the order of a pod's life.
    pub const ALL: [Self; 9] = [
        Self::Configure,
        Self::Select,
        Self::BeforeAdd,
        Self::AfterAdd,
        Self::Finalize,
        Self::Check,
        Self::Status,
        Self::Del,
        Self::Gc,
    ];

    /// The name as the WIT interface has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Select => "select",
            Self::BeforeAdd => "before-add",
            Self::AfterAdd => "after-add",
            Self::Finalize => "finalize",
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The policy said so.
    Policy,
    /// The policy trapped or panicked.
    Trap,
    /// The policy did not return in time.
    Timeout,
    /// The policy went over a limit other than time.
    Limit,
    /// The policy is not loaded.
    Load,
    /// Two policies set one path to different values, or an edit broke an invariant of the whole.
    Conflict,
}

impl Cause {
    /// The name as logs and metrics have it.
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

/// A policy, or what became of it, refuses the request. All edits of the hook are dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy:?} denied in hook {hook}: {message}")]
pub struct Denied {
    /// Name of the policy.
    pub policy: String,
    /// The hook that was running.
    pub hook: Hook,
    /// CNI error code: 100 or above, or [`Denied::TRY_AGAIN`].
    pub code: u32,
    /// The reason, for the runtime and for people; without the policy's name.
    pub message: String,
    /// More for people.
    pub details: Option<String>,
    /// Who or what denied.
    pub cause: Cause,
    /// What was reported before the denial.
    pub findings: Vec<Finding>,
}

impl Denied {
    /// The lowest code that is a policy's own; what fails without a code has it.
    pub const FIRST_CODE: u32 = 100;

    /// The code of a policy that is not loaded yet.
    pub const TRY_AGAIN: u32 = 11;
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Logged.
    Info,
    /// Logged, and an Event of the pod.
    Warning,
}

/// What a policy reports without deciding anything, and what the engine reports about a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the policy.
    pub policy: String,
    /// The hook that was running.
    pub hook: Hook,
    /// How much it matters.
    pub severity: Severity,
    /// A short code in the policy's own words; the engine's own begin with `policy-`.
    pub code: String,
    /// For people.
    pub message: String,
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
    /// RFC 6902 patch of the thing that the hook edits, as JSON text of at most 16 KiB.
    pub patch: String,
    /// How many operations, the last ones, have no room in the patch.
    pub omitted: usize,
}

/// What happened in one hook.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The edits that stand, in the order of the policies.
    pub edits: Vec<AppliedEdit>,
    /// What policies in audit mode would have changed.
    pub audited: Vec<AppliedEdit>,
    /// Findings of the policies and of the engine.
    pub findings: Vec<Finding>,
}

/// Whether a character ends or moves the line that it is shown in: control characters, and those that
/// turn the direction of text.
pub(crate) fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of a guest as it may stand in a log, an error or an Event: on one line, bounded.
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
