//! What is left to do when requests have their answers: instances go, and others are made for the
//! requests to come.
//!
//! To clear what an instance wrote takes about as long as a call, and so does to make one. A request
//! that waits for its delegates does it for those that have ended. Where none comes soon, a task does.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::call::Instance;
use crate::policy::Policy;
use crate::services::Services;

/// How long what is left may wait for the next request.
pub(crate) const SOON: Duration = Duration::from_millis(10);

/// More instances than these are dropped at once: what their memories take of the processor's caches
/// is worth more than a moment of one request.
const FEW: usize = 2;

/// What requests that have ended left.
#[derive(Default)]
pub(crate) struct Leftovers {
    left: Mutex<Left>,
    requests: AtomicUsize,
}

#[derive(Default)]
struct Left {
    work: Work,
    /// A task is going to look.
    watched: bool,
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

    async fn carry_out(self, services: &Arc<Services>) {
        drop(self.done);
        // Where several requests run, the processor has enough to do, and nothing is gained for all
        // of them together.
        if services.leftovers.requests.load(Ordering::Relaxed) > 1 {
            return;
        }
        for policy in self.used {
            policy.prepare(services).await;
        }
    }
}

impl Leftovers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, until its [`end`].
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> Work {
        std::mem::take(&mut self.lock().work)
    }
}

/// Does this, and what others left, while the request waits.
pub(crate) fn now(services: &Arc<Services>, mut work: Work) {
    work.add(services.leftovers.take());
    if work.is_empty() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        let services = Arc::clone(services);
        runtime.spawn(async move { work.carry_out(&services).await });
    }
}

/// Does what a request leaves that is about to be answered. A task for that would take away from the
/// answer, so that it is left to the next request, unless there is much to do, or others wait anyway.
pub(crate) fn end(services: &Arc<Services>, work: Work) {
    let others = services.leftovers.requests.fetch_sub(1, Ordering::Relaxed) > 1;
    if others || work.done.len() > FEW {
        return now(services, work);
    }
    if work.is_empty() {
        return;
    }
    // Outside of a runtime there is nothing to be gained.
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let mut left = services.leftovers.lock();
    left.work.add(work);
    if std::mem::replace(&mut left.watched, true) {
        return;
    }
    drop(left);
    let services = Arc::clone(services);
    runtime.spawn(async move {
        tokio::time::sleep(SOON).await;
        let work = {
            let mut left = services.leftovers.lock();
            left.watched = false;
            std::mem::take(&mut left.work)
        };
        work.carry_out(&services).await;
    });
}

impl fmt::Debug for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.lock();
        f.debug_struct("Leftovers")
            .field("done", &left.work.done.len())
            .field("watched", &left.watched)
            .finish()
    }
}
