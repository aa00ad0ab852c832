//! Which guest runs next, so that guests that run long hold up neither other guests nor other
//! tasks.
//!
//! A guest runs until it returns, waits for the host, or a tick interrupts it. Guests that were
//! interrupted wait for another turn, and while there are any, all guests need one. At most one
//! turn for each worker of the runtime is out. It begins behind all tasks that are ready, and after
//! the runtime has looked for events: it does not while tasks wake each other. The next turn is for the policy and the namespace whose guests ran least lately, as with
//! [memory](crate::wasm::memory).

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

/// Half of a share is forgotten in this time.
const HALF: Duration = Duration::from_secs(1);
/// A turn that has not begun after this time goes to another guest: its task may be stopped.
pub(crate) const STALE: Duration = Duration::from_millis(100);
/// With more policies or namespaces than this, those that did not run lately are forgotten.
const MAX_SHARES: usize = 1024;
/// What counts as not at all, in seconds.
const NOTHING: f64 = 0.000_1;

/// The turns of all guests of the daemon.
#[derive(Default)]
pub(crate) struct Turns {
    workers: OnceLock<usize>,
    table: Mutex<Table>,
}

/// Whose guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) policy: Arc<str>,
    /// The pod's namespace; empty for the node's own requests.
    pub(crate) namespace: Arc<str>,
}

#[derive(Default)]
struct Table {
    numbers: u64,
    /// Turns that begin or have begun.
    out: Vec<Place>,
    waiting: Vec<Place>,
    policies: Shares,
    namespaces: Shares,
    /// The time that guests of each policy ran.
    ran: HashMap<Arc<str>, Duration>,
}

struct Place {
    number: u64,
    who: Who,
    waker: Waker,
    /// When the turn was given.
    since: Instant,
    has_begun: bool,
}

impl Turns {
    /// The turns of one call.
    pub(crate) fn of(self: &Arc<Self>, who: Who) -> Turn {
        Turn {
            turns: Arc::clone(self),
            who,
            stage: Stage::Idle,
        }
    }

    fn workers(&self) -> usize {
        let count = || Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        *self.workers.get_or_init(count)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

/// The turns of one call, one after the other.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    who: Who,
    stage: Stage,
}

type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Stage {
    Idle,
    Waiting {
        number: u64,
        since: Instant,
        /// The time that guests of the policy had run.
        own: Duration,
        /// Lets other tasks and events go first, once the turn is given.
        pause: Option<Pause>,
    },
    Running {
        number: u64,
        since: Instant,
    },
}

impl Turn {
    /// Begins a turn, or wakes the task when it can begin. Returns the time that the guest waited
    /// and need not pay for: guests of its own policy did not run.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let (now, workers) = (Instant::now(), self.turns.workers());
        let mut table = self.turns.table();
        let (number, waited) = match &mut self.stage {
            Stage::Running { .. } => return Poll::Ready(Duration::ZERO),
            Stage::Idle if table.is_free(workers) => (table.number(), Duration::ZERO),
            Stage::Idle => {
                let own = table.ran(&self.who);
                let number = table.wait(&self.who, cx.waker(), now);
                table.serve(workers, now);
                self.stage = Stage::Waiting {
                    number,
                    since: now,
                    own,
                    pause: None,
                };
                return Poll::Pending;
            }
            Stage::Waiting {
                number,
                since,
                own,
                pause,
            } => {
                if !table.may_begin(*number, workers, cx.waker()) {
                    table.serve(workers, now);
                    return Poll::Pending;
                }
                let pause = pause.get_or_insert_with(|| Box::pin(tokio::task::yield_now()));
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let own = table.ran(&self.who).saturating_sub(*own);
                let waited = now.saturating_duration_since(*since);
                (*number, waited.saturating_sub(own))
            }
        };
        table.begin(number, &self.who, cx.waker(), now);
        self.stage = Stage::Running { number, since: now };
        Poll::Ready(waited)
    }

    /// Ends the turn. A guest that a tick interrupted waits for the next one.
    pub(crate) fn end(&mut self, is_interrupted: bool, cx: &Context<'_>) {
        let Stage::Running { number, since } = self.stage else {
            return;
        };
        let (now, workers) = (Instant::now(), self.turns.workers());
        let mut table = self.turns.table();
        table.leave(number);
        table.charge(&self.who, now.saturating_duration_since(since), now);
        self.stage = match is_interrupted {
            false => Stage::Idle,
            true => Stage::Waiting {
                own: table.ran(&self.who),
                number: table.wait(&self.who, cx.waker(), now),
                since: now,
                pause: None,
            },
        };
        table.serve(workers, now);
    }

    /// The time that the guest has waited so far and need not pay for.
    pub(crate) fn waited(&self) -> Duration {
        let Stage::Waiting { since, own, .. } = self.stage else {
            return Duration::ZERO;
        };
        let own = self.turns.table().ran(&self.who).saturating_sub(own);
        since.elapsed().saturating_sub(own)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let number = match self.stage {
            Stage::Idle => return,
            Stage::Waiting { number, .. } | Stage::Running { number, .. } => number,
        };
        let (now, workers) = (Instant::now(), self.turns.workers());
        let mut table = self.turns.table();
        if let Stage::Running { since, .. } = self.stage {
            table.charge(&self.who, now.saturating_duration_since(since), now);
        }
        table.leave(number);
        table.serve(workers, now);
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether a guest can run without waiting.
    fn is_free(&self, workers: usize) -> bool {
        self.waiting.is_empty() && self.out.len() < workers
    }

    fn wait(&mut self, who: &Who, waker: &Waker, now: Instant) -> u64 {
        let number = self.number();
        self.waiting.push(Place {
            number,
            who: who.clone(),
            waker: waker.clone(),
            since: now,
            has_begun: false,
        });
        number
    }

    /// Whether a guest that waited has a turn now, or had one that went stale and there is room.
    fn may_begin(&mut self, number: u64, workers: usize, waker: &Waker) -> bool {
        if self.out.iter().any(|place| place.number == number) {
            return true;
        }
        if let Some(place) = self.waiting.iter_mut().find(|place| place.number == number) {
            place.waker.clone_from(waker);
            return false;
        }
        let running = self.out.iter().filter(|place| place.has_begun).count();
        running < workers
    }

    fn begin(&mut self, number: u64, who: &Who, waker: &Waker, now: Instant) {
        self.out.retain(|place| place.number != number);
        self.out.push(Place {
            number,
            who: who.clone(),
            waker: waker.clone(),
            since: now,
            has_begun: true,
        });
    }

    fn leave(&mut self, number: u64) {
        self.out.retain(|place| place.number != number);
        self.waiting.retain(|place| place.number != number);
    }

    /// Gives the turns that have not begun to those whose policies and namespaces ran least.
    fn serve(&mut self, workers: usize, now: Instant) {
        let is_stale = |place: &Place| now.saturating_duration_since(place.since) >= STALE;
        self.out.retain(|place| place.has_begun || !is_stale(place));
        let (begun, given): (Vec<Place>, Vec<Place>) = std::mem::take(&mut self.out)
            .into_iter()
            .partition(|place| place.has_begun);
        let known: Vec<u64> = given.iter().map(|place| place.number).collect();
        self.out = begun;
        if self.waiting.is_empty() || self.out.len() >= workers {
            self.out.extend(given);
            return;
        }
        self.waiting.extend(given);
        while self.out.len() < workers
            && let Some(next) = self.next(now)
        {
            let mut place = self.waiting.swap_remove(next);
            if !known.contains(&place.number) {
                place.since = now;
                place.waker.wake_by_ref();
            }
            self.out.push(place);
        }
    }

    /// The guest to run next; equals keep the order of arrival.
    fn next(&self, now: Instant) -> Option<usize> {
        let ranks = self.waiting.iter().enumerate().map(|(index, place)| {
            let Who { policy, namespace } = &place.who;
            let rank = self.policies.of(policy, now) + self.namespaces.of(namespace, now);
            (rank, place.number, index)
        });
        let first = ranks.min_by(|(a, one, _), (b, other, _)| a.total_cmp(b).then(one.cmp(other)));
        first.map(|(.., index)| index)
    }

    fn charge(&mut self, who: &Who, time: Duration, now: Instant) {
        self.policies.add(&who.policy, time, now);
        self.namespaces.add(&who.namespace, time, now);
        match self.ran.get_mut(&who.policy) {
            Some(ran) => *ran = ran.saturating_add(time),
            None => drop(self.ran.insert(Arc::clone(&who.policy), time)),
        }
    }

    /// The time that guests of the policy ran.
    fn ran(&self, who: &Who) -> Duration {
        self.ran.get(&who.policy).copied().unwrap_or_default()
    }
}

/// How long guests ran lately, by policy or by namespace.
#[derive(Default)]
struct Shares(HashMap<Arc<str>, Share>);

/// Seconds at a time.
#[derive(Clone, Copy)]
struct Share {
    seconds: f64,
    at: Instant,
}

impl Share {
    fn now(self, now: Instant) -> f64 {
        let halves = now.saturating_duration_since(self.at).as_secs_f64() / HALF.as_secs_f64();
        self.seconds * (-halves).exp2()
    }
}

impl Shares {
    fn of(&self, name: &str, now: Instant) -> f64 {
        self.0.get(name).map_or(0.0, |share| share.now(now))
    }

    fn add(&mut self, name: &Arc<str>, time: Duration, now: Instant) {
        let share = Share {
            seconds: self.of(name, now) + time.as_secs_f64(),
            at: now,
        };
        match self.0.get_mut(name) {
            Some(known) => *known = share,
            None => {
                if self.0.len() >= MAX_SHARES {
                    self.0.retain(|_, share| share.now(now) > NOTHING);
                }
                self.0.insert(Arc::clone(name), share);
            }
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("Turns")
            .field("out", &table.out.len())
            .field("waiting", &table.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
