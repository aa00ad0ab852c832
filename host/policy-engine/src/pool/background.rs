//! Background work after the response: dropping instances, and making new ones ahead of requests.
//!
//! Clearing an instance's memory takes about as long as a call, and so does making one. A request
//! alone with the policies defers both until after its response, not into the wait for its
//! delegates, which would share the processor's caches with this work and take longer. Instances
//! are handled one at a time, and other tasks run in between.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::load::policy::Policy;
use crate::wasm::instance::Instance;
use crate::wasm::services::Services;

/// Background work left by finished requests.
#[derive(Default)]
pub(crate) struct Leftovers {
    left: Mutex<Left>,
    requests: AtomicUsize,
}

#[derive(Default)]
struct Left {
    work: Work,
    /// A task is working on it.
    tended: bool,
}

/// Instances to drop, and policies that need an instance made ahead.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) done: Vec<Instance>,
    pub(crate) used: Vec<Arc<Policy>>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.used.is_empty()
    }

    fn add(&mut self, mut other: Self) {
        self.done.append(&mut other.done);
        self.used.append(&mut other.used);
    }
}

/// The next piece of work.
enum Step {
    Drop(Vec<Instance>),
    Make(Arc<Policy>),
}

impl Leftovers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request until its [`end`].
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether at most one request is using policies.
    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.load(Ordering::Relaxed) <= 1
    }

    /// Drops instances before making new ones, because their slots are still in the processor's
    /// caches. While several requests run, makes none ahead: the requests need the slots, and
    /// making instances ahead gains nothing overall.
    fn next(&self) -> Option<Step> {
        let quiet = self.is_quiet();
        let mut left = self.lock();
        let Work { done, used } = &mut left.work;
        if !quiet {
            used.clear();
            if !done.is_empty() {
                return Some(Step::Drop(std::mem::take(done)));
            }
        }
        if let Some(instance) = done.pop() {
            return Some(Step::Drop(vec![instance]));
        }
        let step = used.pop().map(Step::Make);
        left.tended = step.is_some();
        step
    }
}

/// Lets another task take over if this one panics.
struct Tending<'a>(&'a Services);

impl Drop for Tending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.leftovers.lock().tended = false;
        }
    }
}

/// Starts background work, which runs when other tasks yield.
pub(crate) fn tend(services: &Arc<Services>, work: Work) {
    if work.is_empty() {
        return;
    }
    // Without a runtime there is nothing to gain.
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let mut left = services.leftovers.lock();
    left.work.add(work);
    if std::mem::replace(&mut left.tended, true) {
        return;
    }
    drop(left);
    let services = Arc::clone(services);
    runtime.spawn(async move {
        let _tending = Tending(&services);
        if services.leftovers.is_quiet() {
            // Send the response first.
            yield_now().await;
        }
        while let Some(step) = services.leftovers.next() {
            match step {
                Step::Drop(instances) => drop(instances),
                Step::Make(policy) => policy.prepare(&services).await,
            }
            yield_now().await;
        }
    });
}

/// Starts the background work of a request that is about to be answered.
pub(crate) fn end(services: &Arc<Services>, work: Work) {
    services.leftovers.requests.fetch_sub(1, Ordering::Relaxed);
    tend(services, work);
}

impl fmt::Debug for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.lock();
        f.debug_struct("Leftovers")
            .field("done", &left.work.done.len())
            .field("tended", &left.tended)
            .finish()
    }
}
