//! What a request spends its time on, as spans of `tracing`: one for the request, and below it one
//! for each stage. Delegates and policies add theirs. The daemon collects those of this target; if
//! it does not, a span costs a comparison.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::str::FromStr;

use futures_util::FutureExt as _;
use futures_util::future::Inspect;
use tracing::field::Empty;
use tracing::instrument::{Instrument, Instrumented};
use tracing::{Span, info_span};

use crate::domain::trace_parent::{self, TraceId, TraceParent};
use crate::domain::trace_state::{self, TraceState};
use crate::report;

/// Target of all spans that make up a trace, also in libcni and the policy engine.
pub const TARGET: &str = "cnidaria::trace";
/// Name of the span of a request.
pub const REQUEST: &str = "request";

/// The trace of one request.
#[derive(Debug)]
pub struct Trace {
    /// Identifies the request: the runtime's trace, or one of its own.
    pub id: TraceId,
    span: Span,
}

impl Trace {
    /// Begins the trace of a request with this environment. Ignores a malformed `TRACEPARENT`, and a
    /// `TRACESTATE` that is malformed or has no parent.
    pub fn begin(env: &BTreeMap<String, String>) -> Self {
        let parent = parsed::<TraceParent>(env, trace_parent::VARIABLE);
        let state = parent.and_then(|_| parsed::<TraceState>(env, trace_state::VARIABLE));
        let id = parent.map_or_else(TraceId::new, |parent| parent.trace);
        let span = info_span!(
            target: TARGET,
            parent: None,
            REQUEST,
            id = %id,
            parent = parent.map(tracing::field::display),
            state = state.as_ref().map(TraceState::as_str),
            verb = Empty,
            pod = Empty,
            container = Empty,
            interface = Empty,
            outcome = Empty,
            error = Empty,
        );
        Self { id, span }
    }

    /// Handles the request within its trace.
    pub fn of<F: Future>(&self, work: F) -> Instrumented<F> {
        work.instrument(self.span.clone())
    }

    /// The same for a part that does not wait.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }

    /// Notes a property of the request, unless it is empty.
    pub fn note(&self, field: &str, value: &str) {
        if !value.is_empty() {
            self.span.record(field, value);
        }
    }

    /// Ends the request; work that continues in the background does not count as its time.
    pub fn end(&self, outcome: &str, error: Option<&str>) {
        if let Some(error) = error {
            self.span.record("error", error);
        }
        self.span.record("outcome", outcome);
    }
}

/// A variable's value, if it is set and well-formed.
fn parsed<T: FromStr<Err: Display>>(env: &BTreeMap<String, String>, variable: &str) -> Option<T> {
    let text = env.get(variable).filter(|text| !text.is_empty())?;
    let parsed = text.parse().inspect_err(|error| {
        tracing::debug!(%error, "ignoring the request's malformed {variable}");
    });
    parsed.ok()
}

/// A stage that may fail.
pub(crate) fn stage<T, E, W>(
    name: &'static str,
    work: W,
) -> Inspect<Instrumented<W>, impl FnOnce(&Result<T, E>)>
where
    E: std::error::Error + 'static,
    W: Future<Output = Result<T, E>>,
{
    noting(
        info_span!(target: TARGET, "stage", stage = name, error = Empty),
        work,
    )
}

/// A stage of one attachment, which may fail.
pub(crate) fn attachment<T, E, W>(
    name: &'static str,
    (network, interface): (&str, &str),
    work: W,
) -> Inspect<Instrumented<W>, impl FnOnce(&Result<T, E>)>
where
    E: std::error::Error + 'static,
    W: Future<Output = Result<T, E>>,
{
    noting(of_attachment(name, network, interface), work)
}

/// The span of a stage of one attachment.
pub(crate) fn of_attachment(name: &'static str, network: &str, interface: &str) -> Span {
    info_span!(target: TARGET, "stage", stage = name, network, interface, error = Empty)
}

/// A stage that cannot fail.
pub fn step<W: Future>(name: &'static str, work: W) -> Instrumented<W> {
    work.instrument(info_span!(target: TARGET, "stage", stage = name))
}

/// Runs `work` in a span, and notes its error there.
pub(crate) fn noting<T, E, W>(
    span: Span,
    work: W,
) -> Inspect<Instrumented<W>, impl FnOnce(&Result<T, E>)>
where
    E: std::error::Error + 'static,
    W: Future<Output = Result<T, E>>,
{
    let noted = span.clone();
    work.instrument(span).inspect(move |done| {
        if let Err(error) = done
            && !noted.is_disabled()
        {
            noted.record("error", report::chain(error));
        }
    })
}
