//! Spans as OpenTelemetry has them.

use std::sync::Arc;
use std::time::Duration;

use cnidaria_core::domain::trace_parent;
use cnidaria_core::spans::REQUEST;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceId};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::trace::record::{Record, Span};
use crate::trace::wire;

/// Prefix of attributes, which have no name in the semantic conventions.
const PREFIX: &str = "cni";

/// The spans of a request.
pub(super) fn spans(trace: &Arc<Record>) -> Vec<SpanData> {
    let given = trace.trace_state.as_ref();
    let given = given.and_then(|text| text.parse::<TraceState>().ok());
    let given = given.unwrap_or(TraceState::NONE);
    let state = trace.lock();
    let spans = state.spans.iter().enumerate();
    spans
        .map(|(index, span)| convert(trace, &given, index, span))
        .collect()
}

fn convert(trace: &Record, state: &TraceState, index: usize, span: &Span) -> SpanData {
    let above = span.parent.map(|parent| trace.span_id(parent));
    let remote = trace.parent.map(|parent| parent.span);
    let parent = above.or(remote).map_or(SpanId::INVALID, id);
    let began = trace.began + span.start;
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(trace.id.to_bytes()),
            id(trace.span_id(index)),
            TraceFlags::SAMPLED,
            false,
            state.clone(),
        ),
        parent_span_id: parent,
        parent_span_is_remote: above.is_none() && remote.is_some(),
        span_kind: match span.name {
            REQUEST => SpanKind::Server,
            _ => SpanKind::Internal,
        },
        name: name(span).into(),
        start_time: began,
        end_time: began + span.duration.unwrap_or(Duration::ZERO),
        attributes: attributes(span),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match &span.fields.error {
            Some(error) => Status::error(error.clone()),
            None => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::builder("cnidaria").build(),
    }
}

/// A name of few values: `ADD`, `attach`, `delegate bridge`, `policy mtu`.
fn name(span: &Span) -> String {
    let value = |name| span.fields.get(name);
    match span.name {
        REQUEST => value("verb").unwrap_or(REQUEST).to_owned(),
        kind => match value("plugin").or(value("policy")) {
            Some(which) => format!("{kind} {which}"),
            None => wire::name(span).to_owned(),
        },
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let values = span.fields.values.iter();
    let pod = values.clone().find(|(name, _)| *name == "pod");
    let pod = pod.and_then(|(_, pod)| pod.split_once('/'));
    let pod = pod.into_iter().flat_map(|(namespace, name)| {
        [
            KeyValue::new("k8s.namespace.name", namespace.to_owned()),
            KeyValue::new("k8s.pod.name", name.to_owned()),
        ]
    });
    let others = values.filter(|(name, _)| *name != "pod" && *name != wire::STAGE);
    let others =
        others.map(|(name, value)| KeyValue::new(format!("{PREFIX}.{name}"), value.clone()));
    pod.chain(others).collect()
}

fn id(span: trace_parent::SpanId) -> SpanId {
    SpanId::from_bytes(span.to_bytes())
}
