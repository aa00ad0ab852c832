//! Traces of requests: collects the spans that the core, libcni and the policy engine emit, keeps
//! those of the last requests, and gives delegates their context.

mod collector;
mod export;
mod fields;
#[cfg(feature = "otlp")]
mod otlp;
mod record;
mod ring;
mod wire;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::sync::Arc;

use cnidaria_core::domain::trace_parent::VARIABLE;
#[cfg(feature = "otlp")]
use cnidaria_core::supervision;
use config::trace::TraceConfig;
use futures_util::future::BoxFuture;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan as _;

pub use collector::Collector;
use collector::Node;
pub use export::Counts;
use export::Queue;
pub use ring::{Bounds, Ring};

/// What the daemon does with the traces of requests.
pub struct Traces {
    /// The last requests.
    pub ring: Arc<Ring>,
    /// Counts of exported requests, if they are exported.
    pub exported: Option<Arc<Counts>>,
}

/// The parts that trace requests.
pub struct Begun {
    /// Collects spans; a layer of the process' subscriber.
    pub collector: Collector,
    /// What it collects.
    pub traces: Traces,
    /// Exports requests until the collector is dropped.
    pub exporting: Option<BoxFuture<'static, ()>>,
    /// Why requests are not exported although they should be; to log, since no pod depends on it.
    pub problem: Option<String>,
}

/// Begins what the configuration asks for; `None` if traces are off.
pub fn begin(config: &TraceConfig, node_name: &str) -> Option<Begun> {
    let ring = Arc::new(Ring::new(Bounds {
        requests: NonZeroUsize::new(config.requests)?,
        bytes: config.max_bytes.get(),
    }));
    let mut begun = Begun {
        collector: Collector::new(Arc::clone(&ring)),
        traces: Traces {
            ring,
            exported: None,
        },
        exporting: None,
        problem: None,
    };
    if let Some(endpoint) = &config.otlp_endpoint {
        match export(endpoint.as_str(), config.otlp_queue.get(), node_name) {
            Ok((queue, counts, exporting)) => {
                begun.collector = begun.collector.exporting(queue);
                begun.traces.exported = Some(counts);
                begun.exporting = Some(exporting);
            }
            Err(problem) => begun.problem = Some(problem),
        }
    }
    Some(begun)
}

type Exporting = (Queue, Arc<Counts>, BoxFuture<'static, ()>);

#[cfg(feature = "otlp")]
fn export(endpoint: &str, length: usize, node_name: &str) -> Result<Exporting, String> {
    let begun = otlp::Export::begin(endpoint, length, node_name);
    let (queue, export, counts) = begun.map_err(|error| error.to_string())?;
    let exporting =
        supervision::keep_running("export of traces", export, |export| Box::pin(export.run()));
    Ok((queue, counts, Box::pin(exporting)))
}

#[cfg(not(feature = "otlp"))]
fn export(_: &str, _: usize, _: &str) -> Result<Exporting, String> {
    Err("this daemon was built without the feature otlp".to_owned())
}

/// `TRACEPARENT` for a process that is started in the current span; `None` outside of a request that
/// is traced.
pub(crate) fn context() -> Option<(OsString, OsString)> {
    tracing::dispatcher::get_default(|dispatch| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        let current = dispatch.current_span();
        let span = registry.span(current.id()?)?;
        // Other crates may have spans of their own in between.
        let parent = span.scope().find_map(|span| {
            let extensions = span.extensions();
            extensions.get::<Node>().map(Node::as_parent)
        });
        Some((VARIABLE.into(), parent?.to_string().into()))
    })
}
