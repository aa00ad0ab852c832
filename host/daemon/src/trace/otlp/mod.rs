//! Sends the spans of finished requests to an OpenTelemetry collector: OTLP over HTTP, in protobuf.

mod client;
mod convert;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::export::{Counts, Queue};
use super::record::Record;
use client::Client;

/// How long one batch may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests in a batch.
const BATCH: usize = 64;
/// How long a batch waits for further requests.
const LINGER: Duration = Duration::from_millis(500);

/// Exports the requests of a queue.
#[derive(Debug)]
pub(super) struct Export {
    exporter: SpanExporter,
    queued: mpsc::Receiver<Arc<Record>>,
    counts: Arc<Counts>,
    is_failing: bool,
}

impl Export {
    /// Exports to the collector at `endpoint`; at most `length` requests wait.
    pub(super) fn begin(
        endpoint: &str,
        length: usize,
        node_name: &str,
    ) -> Result<(Queue, Self, Arc<Counts>), ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT);
        let mut exporter = exporter.build()?;
        let attributes = [
            KeyValue::new("service.name", "cnidaria"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("k8s.node.name", node_name.to_owned()),
        ];
        let resource = Resource::builder_empty().with_attributes(attributes);
        exporter.set_resource(&resource.build());
        let (queue, queued, counts) = Queue::new(length);
        let export = Self {
            exporter,
            queued,
            counts: Arc::clone(&counts),
            is_failing: false,
        };
        Ok((queue, export, counts))
    }

    /// Exports until the queue closes.
    pub(super) async fn run(&mut self) {
        let mut batch = Vec::new();
        while let Some(first) = self.queued.recv().await {
            batch.push(first);
            let rest = async {
                while batch.len() < BATCH {
                    match self.queued.recv().await {
                        Some(next) => batch.push(next),
                        None => break,
                    }
                }
            };
            let _ = timeout(LINGER, rest).await;
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Sends a batch. One that fails is lost: the last requests are still in the ring.
    async fn send(&mut self, batch: Vec<Arc<Record>>) {
        let spans = batch.iter().flat_map(convert::spans);
        let sent = timeout(TIMEOUT, self.exporter.export(spans.collect())).await;
        let problem = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} seconds", TIMEOUT.as_secs())),
        };
        match problem {
            None => {
                self.counts.sent(batch.len());
                if std::mem::replace(&mut self.is_failing, false) {
                    tracing::info!("traces are exported again");
                }
            }
            Some(error) => {
                self.counts.failed(batch.len());
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(
                        error,
                        "cannot export traces to trace.otlpEndpoint; they are lost until it works again"
                    );
                }
            }
        }
    }
}
