//! The traces of the last requests, bounded by number and bytes.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use shim_api::trace::TraceList;

use super::record::Record;
use super::wire;

/// Bounds of what the ring keeps.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Number of requests.
    pub requests: NonZeroUsize,
    /// Bytes of all of them.
    pub bytes: usize,
}

/// The last requests, running ones included.
#[derive(Debug)]
pub struct Ring {
    bounds: Bounds,
    bytes: Arc<AtomicUsize>,
    traces: Mutex<VecDeque<Arc<Record>>>,
}

impl Ring {
    /// An empty ring.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            bytes: Arc::default(),
            traces: Mutex::default(),
        }
    }

    /// The counter that the ring's traces report their bytes to.
    pub(super) fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.bytes)
    }

    /// Adds a request, in place of the oldest ones if there are too many.
    pub(super) fn push(&self, trace: Arc<Record>) {
        let mut traces = self.lock();
        traces.push_back(trace);
        self.trim(&mut traces);
    }

    /// Makes room after a request has grown.
    pub(super) fn shrink(&self) {
        if self.bytes.load(Ordering::Relaxed) > self.bounds.bytes {
            self.trim(&mut self.lock());
        }
    }

    fn trim(&self, traces: &mut VecDeque<Arc<Record>>) {
        let is_over = |traces: &VecDeque<_>| {
            traces.len() > self.bounds.requests.get()
                || self.bytes.load(Ordering::Relaxed) > self.bounds.bytes
        };
        while is_over(traces) {
            let Some(oldest) = traces.pop_front() else {
                return;
            };
            oldest.evict();
        }
    }

    /// The kept requests, the oldest first.
    pub fn list(&self) -> TraceList {
        let traces: Vec<_> = self.lock().iter().map(Arc::clone).collect();
        TraceList {
            traces: traces.iter().map(|trace| wire::trace(trace)).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.traces.lock()
    }
}
