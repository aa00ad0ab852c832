//! The queue of finished requests that wait to be exported. A request is dropped, and counted, rather
//! than waited for.

#![cfg_attr(
    not(feature = "otlp"),
    allow(dead_code, reason = "only the exporter makes a queue")
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::record::Record;

/// What became of the requests that were to be exported.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Each outcome and its number of requests since the start.
    pub fn now(&self) -> [(&'static str, u64); 3] {
        [
            ("sent", &self.sent),
            ("failed", &self.failed),
            ("dropped", &self.dropped),
        ]
        .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Counts requests that the collector took.
    #[cfg(feature = "otlp")]
    pub(super) fn sent(&self, requests: usize) {
        self.sent.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// Counts requests that the collector did not take.
    #[cfg(feature = "otlp")]
    pub(super) fn failed(&self, requests: usize) {
        self.failed.fetch_add(requests as u64, Ordering::Relaxed);
    }
}

/// The end of the queue at which requests arrive.
#[derive(Debug)]
pub(super) struct Queue {
    requests: mpsc::Sender<Arc<Record>>,
    counts: Arc<Counts>,
}

impl Queue {
    /// A queue for at most `length` requests, and its other end.
    pub(super) fn new(length: usize) -> (Self, mpsc::Receiver<Arc<Record>>, Arc<Counts>) {
        let (requests, queued) = mpsc::channel(length);
        let counts = Arc::<Counts>::default();
        let queue = Self {
            requests,
            counts: Arc::clone(&counts),
        };
        (queue, queued, counts)
    }

    /// Adds a request unless the queue is full. Never waits.
    pub(super) fn push(&self, trace: Arc<Record>) {
        if self.requests.try_send(trace).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
