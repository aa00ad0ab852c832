//! How many compilations and dry runs there are at a time, and which make way for others.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a job holds a place that a new job wants.
const TIME: Duration = Duration::from_secs(10);
/// How much longer with each further attempt, so that a slow job ends.
const FACTOR: u32 = 4;
/// How often a job that takes long looks whether its place is wanted.
const LOOK: Duration = Duration::from_secs(1);

/// Concurrency limits. A job that takes long makes way for new ones and begins again.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// One job per processor.
    all: Arc<Semaphore>,
    /// One more for small modules and dry runs, which do not wait for big modules.
    small: Arc<Semaphore>,
    /// The jobs that wait for their first place.
    waiting: Arc<Waiting>,
    pub(super) time: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    all: AtomicUsize,
    /// Those among them that are small.
    small: AtomicUsize,
}

/// A place that a job holds.
pub(super) struct Place<'p> {
    _permit: SemaphorePermit<'p>,
    places: &'p Places,
    is_small: bool,
}

impl Places {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            all: Arc::new(Semaphore::new(processors.max(2))),
            small: Arc::new(Semaphore::new(1)),
            waiting: Arc::default(),
            time: TIME,
        }
    }

    /// Waits for a place. The semaphores are never closed.
    pub(super) async fn acquire(&self, is_small: bool, attempt: u32) -> Option<Place<'_>> {
        let _new = (attempt == 0).then(|| New::of(&self.waiting, is_small));
        let any = pin!(self.all.acquire());
        let (permit, is_small) = match is_small {
            false => (any.await, false),
            true => match select(any, pin!(self.small.acquire())).await {
                Either::Left((permit, _)) => (permit, false),
                Either::Right((permit, _)) => (permit, true),
            },
        };
        Some(Place {
            _permit: permit.ok()?,
            places: self,
            is_small,
        })
    }
}

impl Place<'_> {
    /// Waits until the job has had its time and a new job could use the place.
    pub(super) async fn is_wanted(&self, attempt: u32) {
        let Places { waiting, time, .. } = self.places;
        tokio::time::sleep(*time * FACTOR.saturating_pow(attempt)).await;
        let wanted = match self.is_small {
            true => &waiting.small,
            false => &waiting.all,
        };
        while wanted.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep((*time).min(LOOK)).await;
        }
    }
}

/// A job that waits for its first place.
struct New<'w> {
    waiting: &'w Waiting,
    is_small: bool,
}

impl<'w> New<'w> {
    fn of(waiting: &'w Waiting, is_small: bool) -> Self {
        waiting.all.fetch_add(1, Ordering::Relaxed);
        waiting
            .small
            .fetch_add(usize::from(is_small), Ordering::Relaxed);
        Self { waiting, is_small }
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        self.waiting.all.fetch_sub(1, Ordering::Relaxed);
        self.waiting
            .small
            .fetch_sub(usize::from(self.is_small), Ordering::Relaxed);
    }
}
