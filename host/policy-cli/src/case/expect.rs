//! The expected outcome of a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;

/// The expected outcome of a request. Absent members are not compared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Expect {
    /// How the request ends; by default `deny` with a `code`, `hook` or `cause`, otherwise `accept`.
    pub(crate) verdict: Option<Verdict>,
    /// The error's code.
    pub(crate) code: Option<u32>,
    /// The hook that denies.
    pub(crate) hook: Option<Spanned<String>>,
    /// Why it denies.
    pub(crate) cause: Option<Cause>,
    /// A part of the reason.
    pub(crate) message: Option<String>,
    /// The interfaces of all attachments, in order.
    pub(crate) interfaces: Option<Vec<String>>,
    /// The networks of all attachments, in order.
    pub(crate) networks: Option<Vec<String>>,
    /// All edits of the named interfaces, `select` or `finalize`, by JSON pointer; null if removed. An
    /// empty map expects no edits.
    pub(crate) edits: Option<BTreeMap<String, Pointers>>,
    /// Parts of confs that delegates get: by interface, then by JSON pointer; null if absent.
    pub(crate) conf: Option<BTreeMap<String, Pointers>>,
    /// Parts of the capability arguments that delegates get, likewise.
    pub(crate) arguments: Option<BTreeMap<String, Pointers>>,
    /// Parts of the result for the runtime, by JSON pointer; null if absent.
    pub(crate) result: Option<Pointers>,
    /// The DNS of network-status, by interface.
    pub(crate) dns: Option<BTreeMap<String, Value>>,
    /// The tags of network-status, by interface.
    pub(crate) tags: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// All findings, in order.
    pub(crate) findings: Option<Vec<ExpectedFinding>>,
    /// Parts of log lines, each of which one line has.
    pub(crate) log: Option<Vec<String>>,
    /// All that the policy keeps.
    pub(crate) state: Option<BTreeMap<String, String>>,
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It succeeds.
    Accept,
    /// The policy, or its failure, denies it.
    Deny,
    /// It fails for another reason.
    Fail,
    /// The policy does not load with these settings.
    Refused,
}

impl Verdict {
    /// The verdict's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Deny => "deny",
            Self::Fail => "fail",
            Self::Refused => "refused",
        }
    }
}

/// An expected finding.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedFinding {
    pub(crate) code: Option<String>,
    pub(crate) severity: Option<Severity>,
    /// A part of its message.
    pub(crate) message: Option<String>,
    /// Some of its fields.
    pub(crate) fields: Option<BTreeMap<String, String>>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Logged.
    Info,
    /// Also an Event of the pod.
    Warning,
}

/// Why a policy denies, in the engine's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cause {
    /// It decided so.
    Policy,
    /// It is not loaded.
    Load,
    /// It trapped.
    Trap,
    /// It ran out of time.
    Timeout,
    /// It exceeded another limit.
    Limit,
    /// An edit of another policy was in the way.
    Conflict,
}

/// Values by JSON pointer.
pub(crate) type Pointers = BTreeMap<Pointer, Value>;

/// A JSON pointer: empty, or a text that begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pointer(String);

impl Pointer {
    /// The pointer's text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.is_empty() || text.starts_with('/') {
            true => Ok(Self(text)),
            false => Err(format!(
                "expected a JSON pointer, which begins with a slash; did you mean \"/{text}\"?"
            )),
        }
    }
}
