//! What a scrape of the metrics reads from the daemon's parts.

use std::sync::Arc;

use super::App;
use crate::adapters::metrics::Snapshot;
use cnidaria_core::ports::Ledger as _;

impl App {
    /// The metrics as text.
    pub(super) async fn metrics_text(&self) -> String {
        let snapshot = self.snapshot().await;
        self.metrics.text(snapshot)
    }

    async fn snapshot(&self) -> Snapshot {
        let (delegates_running, delegates_waiting) = self.load.now();
        let mut snapshot = Snapshot {
            delegates_running,
            delegates_waiting,
            is_unbound: self.unbound.reason().is_some(),
            ..Snapshot::default()
        };
        if let Some(kube) = &self.kube {
            snapshot.watches = kube.watches();
            snapshot.requests = kube.requests();
        }
        let exported = self
            .traces
            .as_ref()
            .and_then(|traces| traces.exported.as_ref());
        snapshot.exported = exported.map(|counts| counts.now());
        let directories = self.pipeline.directories();
        for cni_dir in &directories {
            snapshot.undos += self.pipeline.undos(cni_dir).len();
            snapshot.containers += self.ledger.count(cni_dir);
            // An unreadable directory is logged where its content matters.
            let deferred = self.ledger.deferred(cni_dir).await;
            snapshot.deferred += deferred.map_or(0, |containers| containers.len());
        }
        if !self.shows_pod_networks && self.pod_counters.is_none() {
            return snapshot;
        }
        let scraped = self.summaries.read(directories).await;
        if scraped.files_read > 0 {
            tracing::debug!(
                files = scraped.files_read,
                "read what changed of the ledger for the metrics"
            );
        }
        if self.shows_pod_networks {
            let labels = scraped.summaries.iter().map(|one| Arc::clone(&one.labels));
            snapshot.pod_networks = labels.collect();
        }
        if let Some(counters) = &self.pod_counters {
            snapshot.traffic = counters.read(&scraped.summaries).await;
        }
        snapshot
    }
}
