//! One writer per sandbox: requests for a container take turns. A DEL does not wait for ADDs and
//! CHECKs: it cancels those that run or wait.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cni_types::args::ContainerId;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Instant;

type Containers = Arc<Mutex<HashMap<ContainerId, Container>>>;

/// The turn and counters of a container with current requests.
#[derive(Debug, Clone)]
struct Container {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Counts the DELs; a change cancels ADDs.
    deletions: watch::Sender<u64>,
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
        let containers = containers.unwrap_or_else(PoisonError::into_inner);
        containers.iter().cloned().collect()
    }

    pub(super) fn has(&self, container: &ContainerId) -> bool {
        let containers = self.containers.lock();
        containers
            .unwrap_or_else(PoisonError::into_inner)
            .contains(container)
    }
}

/// A DEL cancelled a waiting or running ADD.
#[derive(Debug)]
pub(super) struct Superseded;

/// A place in a container's queue.
#[derive(Debug)]
pub(super) struct Ticket {
    containers: Containers,
    id: ContainerId,
    container: Container,
    deletions: watch::Receiver<u64>,
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

/// The right to work on one container. Released on drop.
#[derive(Debug)]
pub(super) struct Turn {
    ticket: Option<Ticket>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Draws a ticket for an ADD or DEL. From now on DELs cancel it, and a running GC leaves the
    /// container alone.
    pub(super) fn ticket(&self, id: &ContainerId, work: Work) -> Ticket {
        let mut ticket = self.draw(id, work);
        ticket.request = Some(RequestCount::new(&ticket.container.requests));
        self.announce(id);
        ticket
    }

    /// The containers that have requests now, or get one while the returned value lives.
    pub(super) fn arrivals(&self) -> Arrivals {
        let arrived = Arc::<Mutex<HashSet<ContainerId>>>::default();
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.push(Arc::downgrade(&arrived));
        drop(watchers);
        // Read after registering: a ticket drawn in between is in at least one of the two.
        let containers = self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let requested = containers
            .iter()
            .filter(|(_, container)| container.requests.load(Ordering::Relaxed) > 0);
        arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(requested.map(|(id, _)| id.clone()));
        Arrivals {
            containers: arrived,
        }
    }

    fn announce(&self, id: &ContainerId) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| {
            let Some(arrived) = watcher.upgrade() else {
                return false;
            };
            arrived
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id.clone());
            true
        });
    }

    /// Draws a ticket for a CHECK: DELs cancel it, but to a GC the container is as before.
    pub(super) fn ticket_of_check(&self, id: &ContainerId) -> Ticket {
        self.draw(id, Work::Check)
    }

    fn draw(&self, id: &ContainerId, work: Work) -> Ticket {
        let mut containers = self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let container = containers.entry(id.clone()).or_insert_with(|| Container {
            turn: Arc::default(),
            deletions: watch::Sender::new(0),
            requests: Arc::default(),
            holder: Arc::default(),
        });
        Ticket {
            containers: Arc::clone(&self.containers),
            id: id.clone(),
            deletions: container.deletions.subscribe(),
            container: container.clone(),
            request: None,
            work,
        }
    }

    /// Waits for the container's turn.
    pub(super) async fn take(&self, id: &ContainerId, work: Work) -> Turn {
        self.draw(id, work).turn().await
    }

    /// What has the container's turn now.
    pub(super) fn holder(&self, id: &ContainerId) -> Option<Holder> {
        let containers = self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let container = containers.get(id)?;
        *container
            .holder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the container's turn if it is free.
    pub(super) fn try_take(&self, id: &ContainerId, work: Work) -> Option<Turn> {
        let ticket = self.draw(id, work);
        let held = Arc::clone(&ticket.container.turn).try_lock_owned();
        // Dropping it without the lock removes the container again.
        let mut turn = Turn {
            ticket: Some(ticket),
            held: None,
        };
        turn.hold(held.ok()?);
        Some(turn)
    }

    /// Waits for the turn of a DEL; cancels the container's ADDs and CHECKs.
    pub(super) async fn take_over(&self, id: &ContainerId, work: Work) -> Turn {
        let ticket = self.ticket(id, work);
        ticket.container.deletions.send_modify(|count| *count += 1);
        ticket.turn().await
    }
}

impl Ticket {
    async fn turn(self) -> Turn {
        let turn = Arc::clone(&self.container.turn);
        // Created before waiting, so that a cancelled wait cleans up.
        let mut waiting = Turn {
            ticket: Some(self),
            held: None,
        };
        waiting.hold(turn.lock_owned().await);
        waiting
    }

    /// Runs `work` until a DEL cancels it.
    pub(super) async fn unless_superseded<T>(
        deletions: &mut watch::Receiver<u64>,
        work: impl Future<Output = T>,
    ) -> Result<T, Superseded> {
        tokio::select! {
            biased;
            _ = deletions.changed() => Err(Superseded),
            done = work => Ok(done),
        }
    }

    /// The ticket's container.
    pub(super) fn container(&self) -> &ContainerId {
        &self.id
    }

    /// Notifies of DELs since the ticket was drawn.
    pub(super) fn deletions(&self) -> watch::Receiver<u64> {
        self.deletions.clone()
    }

    /// Waits for the container's turn, or until a DEL cancels it.
    pub(super) async fn wait(self) -> Result<Turn, Superseded> {
        let mut deletions = self.deletions();
        Self::unless_superseded(&mut deletions, self.turn()).await
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
            *known.lock().unwrap_or_else(PoisonError::into_inner) = holder;
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
        let mut containers = ticket
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // One reference is the map's, the other this ticket's: no other request waits.
        if Arc::strong_count(&ticket.container.turn) == 2 {
            containers.remove(&ticket.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ContainerId {
        ContainerId::new(name).unwrap()
    }

    #[tokio::test]
    async fn a_container_is_one_writers_at_a_time() {
        let turns = Turns::default();
        let first = turns.take(&id("a"), Work::Undo).await;
        let _other = turns.take(&id("b"), Work::Undo).await;
        let a = id("a");
        let mut second = Box::pin(turns.take(&a, Work::Undo));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
    }

    #[tokio::test]
    async fn no_entry_stays_without_waiters() {
        let turns = Turns::default();
        let a = id("a");
        let first = turns.take(&a, Work::Undo).await;
        let mut gave_up = Box::pin(turns.take(&a, Work::Undo));
        assert!(futures_util::poll!(&mut gave_up).is_pending());
        drop(gave_up);
        drop(first);
        assert!(turns.containers.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_turn_that_is_taken_is_not_waited_for() {
        let turns = Turns::default();
        let a = id("a");
        let first = turns.take(&a, Work::Undo).await;
        assert!(turns.try_take(&a, Work::Undo).is_none());
        drop(first);
        assert!(turns.containers.lock().unwrap().is_empty());
        let second = turns.try_take(&a, Work::Undo);
        assert!(turns.try_take(&a, Work::Undo).is_none());
        drop(second);
        assert!(turns.containers.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn del_cancels_waiting_and_running_adds() {
        let turns = Turns::default();
        let a = id("a");
        let running = turns.ticket(&a, Work::Add);
        let mut deletions = running.deletions();
        let turn = running.wait().await.unwrap();
        let mut waiting = Box::pin(turns.ticket(&a, Work::Add).wait());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let mut del = Box::pin(turns.take_over(&a, Work::Del));
        assert!(futures_util::poll!(&mut del).is_pending());
        assert!(waiting.await.is_err());
        let work = std::future::pending::<()>();
        assert!(
            Ticket::unless_superseded(&mut deletions, work)
                .await
                .is_err()
        );
        drop(turn);
        drop(del.await);
    }

    #[tokio::test]
    async fn arrivals_include_only_requests() {
        let turns = Turns::default();
        let _before = turns.ticket(&id("before"), Work::Add);
        let _kept = turns.take(&id("kept"), Work::Undo).await;
        let arrivals = turns.arrivals();
        let _since = turns.ticket(&id("since"), Work::Add);
        let _own = turns.take(&id("gc"), Work::Undo).await;
        assert!(arrivals.has(&id("before")) && arrivals.has(&id("since")));
        assert!(
            !arrivals.has(&id("kept")),
            "the daemon's own work is not a request"
        );
        assert!(!arrivals.has(&id("gc")), "its own turns do not count");
        drop(arrivals);
        turns.announce(&id("x"));
        assert!(turns.watchers.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn del_does_not_cancel_later_add() {
        let turns = Turns::default();
        let a = id("a");
        let del = turns.take_over(&a, Work::Del).await;
        let later = turns.ticket(&a, Work::Add);
        drop(del);
        assert!(later.wait().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_has_a_known_holder() {
        let turns = Turns::default();
        let a = id("a");
        assert!(turns.holder(&a).is_none());
        let turn = turns.take(&a, Work::Del).await;
        let waiting = turns.ticket(&a, Work::Add);
        tokio::time::advance(std::time::Duration::from_secs(24)).await;
        let holder = turns.holder(&a).unwrap().to_string();
        assert_eq!(holder, "a DEL has been running for 24 s");
        drop(turn);
        assert!(turns.holder(&a).is_none());
        let _turn = waiting.wait().await.unwrap();
        let holder = turns.holder(&a).unwrap().to_string();
        assert_eq!(holder, "an ADD has been running for 0 s");
    }
}
