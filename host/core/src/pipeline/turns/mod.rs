//! One writer per sandbox: requests for a container take turns. A DEL does not wait for the ADDs and
//! CHECKs of what it deletes: it cancels those that run or wait.
//!
//! A turn is first [`Held`]: DELs that were recorded while no daemon was running come before any
//! other work on the container.

mod cancellation;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use cni_types::args::{ContainerId, IfName};
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Instant;

use cancellation::Deletions;
pub(super) use cancellation::{Cancellation, Reach, Superseded};

type Containers = Arc<Mutex<HashMap<ContainerId, Container>>>;

/// The turn and counters of a container with current requests.
#[derive(Debug, Clone)]
struct Container {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Counts the DELs; a change cancels requests.
    deletions: watch::Sender<Deletions>,
    /// How many ADDs and DELs wait or run. The daemon's background work takes turns too, uncounted.
    requests: Arc<AtomicUsize>,
    /// Who has the turn.
    holder: Arc<Mutex<Option<Holder>>>,
}

/// What takes a container's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Add,
    Check,
    Del,
    HotPlug,
    HotUnplug,
    Gc,
    /// An undo in the background.
    Undo,
    /// A recorded DEL.
    Deferred,
    /// The daemon waits for delegates that outlived an earlier daemon.
    Orphans,
    /// An operator's request to forget attachments.
    Forget,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "an ADD",
            Self::Check => "a CHECK",
            Self::Del => "a DEL",
            Self::HotPlug => "a hot-plug",
            Self::HotUnplug => "a hot-unplug",
            Self::Gc => "a GC's DEL",
            Self::Undo => "an undo in the background",
            Self::Deferred => "a recorded DEL",
            Self::Orphans => "a delegate of an earlier daemon",
            Self::Forget => "a request to forget it",
        })
    }
}

/// What has a container's turn, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    work: Work,
    since: Instant,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.since.elapsed().as_secs();
        write!(f, "{} has been running for {seconds} s", self.work)
    }
}

/// The containers with current requests.
#[derive(Debug, Default)]
pub(super) struct Turns {
    containers: Containers,
    /// The [`Arrivals`] to notify of new requests.
    watchers: Mutex<Vec<Weak<Mutex<HashSet<ContainerId>>>>>,
}

/// The containers that had a request when this was created, or got one since.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    containers: Arc<Mutex<HashSet<ContainerId>>>,
}

impl Arrivals {
    /// All containers so far.
    pub(super) fn all(&self) -> Vec<ContainerId> {
        let containers = self.containers.lock();
        let containers = containers;
        containers.iter().cloned().collect()
    }

    pub(super) fn has(&self, container: &ContainerId) -> bool {
        let containers = self.containers.lock();
        containers.contains(container)
    }
}

/// A place in a container's queue.
#[derive(Debug)]
pub(super) struct Ticket {
    containers: Containers,
    id: ContainerId,
    container: Container,
    cancellation: Cancellation,
    /// Set for ADDs and DELs.
    request: Option<RequestCount>,
    work: Work,
}

/// Counts an ADD or DEL of a container while it lives.
#[derive(Debug)]
struct RequestCount(Arc<AtomicUsize>);

impl RequestCount {
    fn new(requests: &Arc<AtomicUsize>) -> Self {
        requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for RequestCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A turn before the container's recorded DELs are dealt with. [`settle`](super::deferred::settle)
/// carries them out.
#[derive(Debug)]
pub(super) struct Held(Turn);

impl Held {
    /// The turn, for work that takes the place of the recorded DELs or runs no delegates.
    pub(super) fn leaving_records(self) -> Turn {
        self.0
    }
}

/// The right to work on one container. Released on drop.
#[derive(Debug)]
pub(super) struct Turn {
    ticket: Option<Ticket>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Draws a ticket for an ADD or DEL of an interface. From now on DELs that reach it cancel it,
    /// and a running GC leaves the container alone.
    pub(super) fn ticket(&self, id: &ContainerId, work: Work, if_name: &IfName) -> Ticket {
        self.requested(self.draw(id, work, Some(if_name)))
    }

    fn requested(&self, mut ticket: Ticket) -> Ticket {
        ticket.request = Some(RequestCount::new(&ticket.container.requests));
        self.announce(&ticket.id);
        ticket
    }

    /// The containers that have requests now, or get one while the returned value lives.
    pub(super) fn arrivals(&self) -> Arrivals {
        let arrived = Arc::<Mutex<HashSet<ContainerId>>>::default();
        let mut watchers = self.watchers.lock();
        watchers.push(Arc::downgrade(&arrived));
        drop(watchers);
        // Read after registering: a ticket drawn in between is in at least one of the two.
        let containers = self.containers.lock();
        let requested = containers
            .iter()
            .filter(|(_, container)| container.requests.load(Ordering::Relaxed) > 0);
        arrived.lock().extend(requested.map(|(id, _)| id.clone()));
        Arrivals {
            containers: arrived,
        }
    }

    fn announce(&self, id: &ContainerId) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| {
            let Some(arrived) = watcher.upgrade() else {
                return false;
            };
            arrived.lock().insert(id.clone());
            true
        });
    }

    /// Draws a ticket for a CHECK: DELs cancel it, but to a GC the container is as before.
    pub(super) fn ticket_of_check(&self, id: &ContainerId, if_name: &IfName) -> Ticket {
        self.draw(id, Work::Check, Some(if_name))
    }

    /// Without an interface, only DELs of the whole container reach the ticket.
    fn draw(&self, id: &ContainerId, work: Work, if_name: Option<&IfName>) -> Ticket {
        let mut containers = self.containers.lock();
        let container = containers.entry(id.clone()).or_insert_with(|| Container {
            turn: Arc::default(),
            deletions: watch::Sender::new(Deletions::default()),
            requests: Arc::default(),
            holder: Arc::default(),
        });
        Ticket {
            containers: Arc::clone(&self.containers),
            id: id.clone(),
            cancellation: Cancellation::new(&container.deletions, if_name),
            container: container.clone(),
            request: None,
            work,
        }
    }

    /// Waits for the container's turn.
    pub(super) async fn take(&self, id: &ContainerId, work: Work) -> Held {
        self.draw(id, work, None).turn().await
    }

    /// Whether anything waits for the container's turn or has it.
    pub(super) fn is_busy(&self, id: &ContainerId) -> bool {
        let containers = self.containers.lock();
        containers.contains_key(id)
    }

    /// What has the container's turn now.
    pub(super) fn holder(&self, id: &ContainerId) -> Option<Holder> {
        let containers = self.containers.lock();
        let container = containers.get(id)?;
        *container.holder.lock()
    }

    /// Whether a DEL has the container's turn now.
    pub(super) fn is_deleting(&self, id: &ContainerId) -> bool {
        let holder = self.holder(id);
        holder.is_some_and(|holder| holder.work == Work::Del)
    }

    /// Takes the container's turn if it is free.
    pub(super) fn try_take(&self, id: &ContainerId, work: Work) -> Option<Held> {
        let ticket = self.draw(id, work, None);
        let held = Arc::clone(&ticket.container.turn).try_lock_owned();
        // Dropping it without the lock removes the container again.
        let mut turn = Turn {
            ticket: Some(ticket),
            held: None,
        };
        turn.hold(held.ok()?);
        Some(Held(turn))
    }

    /// Waits for the turn of a DEL; cancels the ADDs and CHECKs that it reaches.
    pub(super) async fn take_over(&self, id: &ContainerId, work: Work, reach: Reach<'_>) -> Held {
        let ticket = self.requested(self.draw(id, work, None));
        let deletions = &ticket.container.deletions;
        deletions.send_modify(|deletions| deletions.add(reach));
        ticket.turn().await
    }
}

impl Ticket {
    async fn turn(self) -> Held {
        let turn = Arc::clone(&self.container.turn);
        // Created before waiting, so that a cancelled wait cleans up.
        let mut waiting = Turn {
            ticket: Some(self),
            held: None,
        };
        waiting.hold(turn.lock_owned().await);
        Held(waiting)
    }

    /// The ticket's container.
    pub(super) fn container(&self) -> &ContainerId {
        &self.id
    }

    /// Notices the DELs that reach the ticket since it was drawn.
    pub(super) fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Waits for the container's turn, or until a DEL cancels it.
    pub(super) async fn wait(self) -> Result<Held, Superseded> {
        let mut cancellation = self.cancellation();
        cancellation.unless_superseded(self.turn()).await
    }
}

impl Turn {
    fn hold(&mut self, held: OwnedMutexGuard<()>) {
        self.set_holder(true);
        self.held = Some(held);
    }

    fn set_holder(&self, is_held: bool) {
        if let Some(ticket) = &self.ticket {
            let holder = is_held.then(|| Holder {
                work: ticket.work,
                since: Instant::now(),
            });
            let known = &ticket.container.holder;
            *known.lock() = holder;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.set_holder(false);
        }
        self.held = None;
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut containers = ticket.containers.lock();
        // One reference is the map's, the other this ticket's: no other request waits.
        if Arc::strong_count(&ticket.container.turn) == 2 {
            containers.remove(&ticket.id);
        }
    }
}

#[cfg(test)]
mod tests;
