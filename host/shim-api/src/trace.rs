//! Body of [`crate::endpoint::TRACES`]: where the time of the last requests went.
//!
//! Both sides ship together but are updated one at a time, so readers skip unknown keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer of [`crate::endpoint::TRACES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceList {
    /// The oldest first.
    pub traces: Vec<Trace>,
}

/// A request, running or answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trace {
    /// The trace's id, which the log calls the request's: 32 hexadecimal digits.
    pub id: String,
    /// The runtime's span; `None` if the runtime sent no context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// When it began, as an RFC 3339 time in UTC.
    pub began: String,
    /// The same in nanoseconds since 1970.
    pub began_unix_nanos: u64,
    /// In the order of their beginning; the first is the request itself.
    pub spans: Vec<Span>,
    /// Spans and values that were too many or too long to keep.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

/// A part of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Span {
    /// 16 hexadecimal digits. A delegate finds those of its span in `TRACEPARENT`.
    pub id: String,
    /// The span that it is a part of; `None` for the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// `request`, a stage, `policy` or `delegate`.
    pub name: String,
    /// What it is about: pod, network, policy and others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the beginning of the request to that of the span.
    pub start_nanos: u64,
    /// How long it took; `None` while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_nanos: Option<u64>,
}

impl Trace {
    /// The request itself.
    pub fn request(&self) -> Option<&Span> {
        self.spans.first()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_of_a_trace_are_skipped() {
        let text =
            r#"{"traces":[{"id":"a","colour":"red","spans":[{"name":"request","links":[]}]}]}"#;
        let list: TraceList = serde_json::from_str(text).unwrap();
        let request = list.traces[0].request().unwrap();
        assert_eq!(request.name, "request");
        assert_eq!(request.duration_nanos, None);
    }
}
