//! The trace of one request while it grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cnidaria_core::domain::trace_parent::{SpanId, TraceId, TraceParent};
use parking_lot::{Mutex, MutexGuard};

use super::fields::{Fields, OUTCOME};

/// Spans of one request: a pod with a dozen networks and policies has fewer.
const MAX_SPANS: usize = 512;

/// A request's trace.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) id: TraceId,
    /// The runtime's span.
    pub(super) parent: Option<TraceParent>,
    /// The runtime's `tracestate`.
    pub(super) trace_state: Option<String>,
    pub(super) is_sampled: bool,
    pub(super) began: SystemTime,
    begun: Instant,
    /// The id of the first span; the others follow it.
    first: SpanId,
    /// Bytes of all traces in the ring.
    total: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) spans: Vec<Span>,
    pub(super) dropped: u64,
    bytes: usize,
    is_evicted: bool,
}

/// A part of the request.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) name: &'static str,
    /// Index of the span that it is a part of.
    pub(super) parent: Option<usize>,
    pub(super) fields: Fields,
    pub(super) start: Duration,
    pub(super) duration: Option<Duration>,
}

impl Record {
    /// Begins a trace: below the runtime's span with its state, if the runtime traces. Traces without
    /// it are sampled if `is_exported`.
    #[expect(
        clippy::disallowed_methods,
        reason = "when a request began, as it is shown"
    )]
    pub(super) fn new(
        id: TraceId,
        (parent, trace_state): (Option<TraceParent>, Option<String>),
        is_exported: bool,
        total: Arc<AtomicUsize>,
    ) -> Self {
        let bytes = trace_state.as_ref().map_or(0, String::len);
        total.fetch_add(bytes, Ordering::Relaxed);
        Self {
            id,
            parent,
            trace_state,
            is_sampled: parent.map_or(is_exported, |parent| parent.is_sampled),
            began: SystemTime::now(),
            begun: Instant::now(),
            first: SpanId::new(),
            total,
            state: Mutex::new(State {
                bytes,
                ..State::default()
            }),
        }
    }

    /// The id of the span at an index.
    pub(super) fn span_id(&self, index: usize) -> SpanId {
        self.first.plus(index as u64)
    }

    /// Adds a span and returns its index; `None` if there are too many.
    pub(super) fn add(
        &self,
        name: &'static str,
        parent: Option<usize>,
        fields: Fields,
    ) -> Option<usize> {
        let start = self.begun.elapsed();
        let mut state = self.lock();
        if state.spans.len() >= MAX_SPANS {
            state.dropped += 1;
            return None;
        }
        self.grow(&mut state, size_of::<Span>() + fields.bytes());
        state.dropped += fields.cut;
        state.spans.push(Span {
            name,
            parent,
            fields,
            start,
            duration: None,
        });
        Some(state.spans.len() - 1)
    }

    /// Notes values of a span. An outcome ends it.
    pub(super) fn note(&self, index: usize, fields: Fields) {
        let mut state = self.lock();
        self.grow(&mut state, fields.bytes());
        state.dropped += fields.cut;
        let is_end = fields.get(OUTCOME).is_some();
        if let Some(span) = state.spans.get_mut(index) {
            span.fields.extend(fields);
        }
        drop(state);
        if is_end {
            self.end(index);
        }
    }

    /// Ends a span, unless it has ended.
    pub(super) fn end(&self, index: usize) {
        let now = self.begun.elapsed();
        if let Some(span) = self.lock().spans.get_mut(index) {
            span.duration.get_or_insert(now.saturating_sub(span.start));
        }
    }

    /// Counts no more as part of the ring.
    pub(super) fn evict(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.is_evicted, true) {
            self.total.fetch_sub(state.bytes, Ordering::Relaxed);
        }
    }

    fn grow(&self, state: &mut State, bytes: usize) {
        state.bytes += bytes;
        if !state.is_evicted {
            self.total.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
