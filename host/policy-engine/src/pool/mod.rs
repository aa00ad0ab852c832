//! Instances beyond one call: those of a request, those made ahead, and those to drop.
//!
//! Clearing an instance's memory takes about as long as a call, and so does making one. A request
//! alone with the policies defers both until after its response, not into the wait for its
//! delegates, which would share the processor's caches with this work and take longer. Instances
//! are handled one at a time, and other tasks run in between.

mod ahead;
mod request;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::wasm::instance::Instance;
use crate::wasm::services::Services;

pub(crate) use ahead::{Ahead, Refill};
pub(crate) use request::RequestInstances;

/// The requests that use policies, and the work on instances in the background.
pub(crate) struct Pool {
    services: Arc<Services>,
    background: Mutex<Background>,
    requests: AtomicUsize,
    /// Whether it is for requests that are not made.
    is_rehearsal: bool,
}

#[derive(Default)]
struct Background {
    work: Work,
    /// A task is working on it.
    is_running: bool,
}

/// What to do in the background.
#[derive(Default)]
struct Work {
    /// Instances to drop.
    done: Vec<Instance>,
    /// Instances to make ahead.
    refills: Vec<Refill>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.refills.is_empty()
    }

    fn add(&mut self, mut other: Self) {
        self.done.append(&mut other.done);
        self.refills.append(&mut other.refills);
    }
}

/// The next piece of work.
enum Step {
    Drop(Vec<Instance>),
    Make(Refill),
}

impl Pool {
    pub(crate) fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            background: Mutex::default(),
            requests: AtomicUsize::new(0),
            is_rehearsal: false,
        }
    }

    /// A pool for requests that are not made. It takes no instance made ahead, which belongs to
    /// the daemon's requests and uses their services.
    pub(crate) fn rehearsing(services: Arc<Services>) -> Self {
        Self {
            is_rehearsal: true,
            ..Self::new(services)
        }
    }

    /// Whether the pool is for requests that are not made.
    pub(crate) fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// The services of the instances.
    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    fn lock(&self) -> MutexGuard<'_, Background> {
        self.background.lock()
    }

    /// Counts a request until it [ends](Self::end_request).
    fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether at most one request is using policies.
    fn is_quiet(&self) -> bool {
        self.requests.load(Ordering::Relaxed) <= 1
    }

    /// Drops instances before making new ones, because their slots are still in the processor's
    /// caches. While several requests run, makes none ahead: the requests need the slots, and
    /// making instances ahead gains nothing overall.
    fn next(&self) -> Option<Step> {
        let quiet = self.is_quiet();
        let mut background = self.lock();
        let Work { done, refills } = &mut background.work;
        if !quiet {
            refills.clear();
            if !done.is_empty() {
                return Some(Step::Drop(std::mem::take(done)));
            }
        }
        if let Some(instance) = done.pop() {
            return Some(Step::Drop(vec![instance]));
        }
        let step = refills.pop().map(Step::Make);
        background.is_running = step.is_some();
        step
    }

    /// Starts background work, which runs when other tasks yield. That of a request that is not
    /// made has no response to wait for: its instances are dropped here.
    fn start(self: &Arc<Self>, work: Work) {
        if work.is_empty() || self.is_rehearsal {
            return;
        }
        // Without a runtime there is nothing to gain.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut background = self.lock();
        background.work.add(work);
        if std::mem::replace(&mut background.is_running, true) {
            return;
        }
        drop(background);
        let pool = Arc::clone(self);
        runtime.spawn(async move {
            let _running = Running(&pool);
            if pool.is_quiet() {
                // Send the response first.
                yield_now().await;
            }
            while let Some(step) = pool.next() {
                match step {
                    Step::Drop(instances) => drop(instances),
                    Step::Make(refill) => refill.make(&pool.services).await,
                }
                yield_now().await;
            }
        });
    }

    /// Starts the background work of a request that is about to be answered.
    fn end_request(self: &Arc<Self>, work: Work) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.start(work);
    }
}

/// Lets another task take over if this one panics.
struct Running<'a>(&'a Pool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_running = false;
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let background = self.lock();
        f.debug_struct("Pool")
            .field("done", &background.work.done.len())
            .field("is_running", &background.is_running)
            .finish_non_exhaustive()
    }
}
