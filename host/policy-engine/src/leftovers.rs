//! What is left to do when requests have their answers: instances go, and others are made for the
//! requests to come.
//!
//! To clear what an instance wrote takes about as long as a call, and so does to make one. A request
//! that has the policies to itself leaves both for when it is answered, and not for while it waits for
//! its delegates: those would share the processor's caches with it, and take longer. One instance after
//! another, with everything else that is to be done in between.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::call::Instance;
use crate::policy::Policy;
use crate::services::Services;

/// What requests that have ended left.
#[derive(Default)]
pub(crate) struct Leftovers {
    left: Mutex<Left>,
    requests: AtomicUsize,
}

#[derive(Default)]
struct Left {
    work: Work,
    /// A task is at it.
    tended: bool,
}

/// Instances to drop, and policies to make the next one of.
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

/// What is to be done next.
enum Step {
    Drop(Vec<Instance>),
    Make(Arc<Policy>),
}

impl Leftovers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, until its [`end`].
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one request, or none, has to do with policies.
    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.load(Ordering::Relaxed) <= 1
    }

    /// Instances go before others are made: their slots are in the processor's caches. Where several
    /// requests run, it has enough to do; they need the slots, and nothing is gained for all of them
    /// together by making instances ahead.
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

/// Lets another task be at it where this one ends by a panic.
struct Tending<'a>(&'a Services);

impl Drop for Tending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.leftovers.lock().tended = false;
        }
    }
}

/// Does what requests leave, as soon as there is nothing else to do.
pub(crate) fn tend(services: &Arc<Services>, work: Work) {
    if work.is_empty() {
        return;
    }
    // Outside of a runtime there is nothing to be gained.
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
            // The answer goes out first.
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

/// Does what a request leaves that is about to be answered.
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
