//! A layer of `tracing` that assembles the spans of requests.

use std::sync::Arc;

use cnidaria_core::domain::trace_parent::{TraceId, TraceParent};
use cnidaria_core::spans::{REQUEST, TARGET};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::export::Queue;
use super::fields::Fields;
use super::record::Record;
use super::ring::Ring;

/// Fields of a request's span that its trace has itself.
const ID: &str = "id";
const PARENT: &str = "parent";
const STATE: &str = "state";

/// Collects the spans of requests.
#[derive(Debug)]
pub struct Collector {
    ring: Arc<Ring>,
    queue: Option<Queue>,
}

/// The place of a span in its trace, kept with the span.
pub(super) struct Node {
    trace: Arc<Record>,
    index: usize,
    /// Whether the span is at `index`, and not dropped in favour of the one above it.
    is_kept: bool,
}

impl Node {
    /// The span as the parent of another process' spans.
    pub(super) fn as_parent(&self) -> TraceParent {
        TraceParent {
            trace: self.trace.id,
            span: self.trace.span_id(self.index),
            is_sampled: self.trace.is_sampled,
        }
    }

    /// What the runtime's tracing system says about the trace.
    pub(super) fn state(&self) -> Option<&str> {
        self.trace.trace_state.as_deref()
    }
}

impl Collector {
    /// Keeps requests in `ring`.
    pub fn new(ring: Arc<Ring>) -> Self {
        Self { ring, queue: None }
    }

    /// Also exports finished requests, those that the runtime samples or that have no other trace.
    pub(super) fn exporting(self, queue: Queue) -> Self {
        Self {
            queue: Some(queue),
            ..self
        }
    }

    /// Whether a span belongs to a trace.
    pub(crate) fn collects(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == TARGET && *metadata.level() <= Level::INFO
    }

    /// Begins the trace of a request, whose span has the identifiers.
    fn begin(&self, fields: &mut Fields) -> Option<Arc<Record>> {
        let id = TraceId::parse(&fields.take(ID)?).ok()?;
        let parent = fields.take(PARENT);
        let parent = parent.and_then(|text| text.parse::<TraceParent>().ok());
        let state = fields.take(STATE);
        let is_exported = self.queue.is_some();
        let trace = Record::new(id, (parent, state), is_exported, self.ring.counter());
        let trace = Arc::new(trace);
        self.ring.push(Arc::clone(&trace));
        Some(trace)
    }
}

impl<S> Layer<S> for Collector
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = span.name();
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            let node = extensions.get::<Node>();
            node.map(|node| (Arc::clone(&node.trace), node.index))
        });
        let (trace, parent) = match above {
            Some((trace, index)) => (Some(trace), Some(index)),
            None if name == REQUEST => (self.begin(&mut fields), None),
            // Work that no request waits for.
            None => return,
        };
        let Some(trace) = trace else {
            return;
        };
        // A span beyond the limit is not kept; what is below it goes to its parent.
        let added = trace.add(name, parent, fields);
        if let Some(index) = added.or(parent) {
            let is_kept = added.is_some();
            let node = Node {
                trace,
                index,
                is_kept,
            };
            span.extensions_mut().insert(node);
        }
    }

    fn on_record(&self, id: &Id, values: &Values<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(node) = span.extensions().get::<Node>().filter(|node| node.is_kept) {
            node.trace.note(node.index, fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let node = span.extensions_mut().remove::<Node>();
        if let Some(Node { trace, index, .. }) = node.filter(|node| node.is_kept) {
            trace.end(index);
            if index == 0 {
                self.ring.shrink();
                if let Some(queue) = self.queue.as_ref().filter(|_| trace.is_sampled) {
                    queue.push(trace);
                }
            }
        }
    }
}
