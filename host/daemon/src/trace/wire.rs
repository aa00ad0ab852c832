//! Traces as the socket's clients get them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shim_api::{admin, trace};

use super::record::{Record, Span};

/// The field that names a stage.
pub(super) const STAGE: &str = "stage";

/// A trace as it is now.
pub(super) fn trace(record: &Record) -> trace::Trace {
    let began = since_epoch(record.began);
    let state = record.lock();
    let spans = state.spans.iter().enumerate();
    trace::Trace {
        id: record.id.to_string(),
        parent_span_id: record.parent.map(|parent| parent.span.to_string()),
        began: admin::rfc3339(began.as_secs()),
        began_unix_nanos: nanos(began),
        spans: spans
            .map(|(at, span)| on_the_wire(record, at, span))
            .collect(),
        dropped: state.dropped,
    }
}

fn on_the_wire(record: &Record, index: usize, span: &Span) -> trace::Span {
    let id = |index| record.span_id(index).to_string();
    let values = span.fields.values.iter();
    let attributes = values.filter(|(name, _)| *name != STAGE);
    trace::Span {
        id: id(index),
        parent_id: span.parent.map(id),
        name: name(span).to_owned(),
        attributes: attributes
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        error: span.fields.error.clone(),
        start_nanos: nanos(span.start),
        duration_nanos: span.duration.map(nanos),
    }
}

/// A stage's own name, or what the span is.
pub(super) fn name(span: &Span) -> &str {
    span.fields.get(STAGE).unwrap_or(span.name)
}

pub(super) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
