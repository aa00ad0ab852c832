//! How many delegates run at once: a burst of ADDs must not fill the node's memory with their processes,
//! and a network whose delegates hang must hold up no other.
//!
//! What gives something back (DEL, GC, undoing) has slots of its own, so that it never waits behind what
//! takes. In either pool a network gets another slot only while more are free than it has: alone it gets
//! half of them, and each network that keeps what it has leaves half of the rest to the others. Within
//! that, first come, first served.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Which pool a slot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// DEL and GC, and undoing: they give back addresses and memory.
    Frees,
    /// ADD, CHECK and STATUS.
    Takes,
}

/// The slots of both classes.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    frees: Pool,
    takes: Pool,
}

/// A bounded number of slots.
#[derive(Debug, Clone)]
struct Pool {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    taken: usize,
    /// How many have waited so far: their order.
    tickets: u64,
    /// Those that have a slot or wait for one.
    networks: HashMap<Arc<str>, Network>,
}

#[derive(Debug, Default)]
struct Network {
    running: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    hand: oneshot::Sender<Slot>,
}

/// The right to execute one delegate. Ends with its scope.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` once it was taken back.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    pool: Pool,
    network: Arc<str>,
}

impl Slots {
    /// For `count` delegates of one network at once in each class, and at most twice as many of all.
    pub(super) fn new(count: usize) -> Self {
        let count = count.max(1);
        Self {
            frees: Pool::new(count.saturating_mul(2)),
            takes: Pool::new(count.saturating_mul(2)),
        }
    }

    /// Waits for a slot.
    pub(super) async fn take(&self, class: Class, network: &str) -> Slot {
        match class {
            Class::Frees => self.frees.take(network).await,
            Class::Takes => self.takes.take(network).await,
        }
    }

    /// Whether more than one is taken.
    pub(super) fn are_shared(&self) -> bool {
        self.frees.state().taken + self.takes.state().taken > 1
    }
}

impl Pool {
    fn new(count: usize) -> Self {
        let state = State {
            free: count,
            taken: 0,
            tickets: 0,
            networks: HashMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    async fn take(&self, network: &str) -> Slot {
        let (network, handed) = {
            let mut state = self.state();
            let network = state.key(network);
            if state.take_at_once(&network) {
                return self.slot(network);
            }
            let handed = state.wait(&network);
            (network, handed)
        };
        // The sender is dropped only together with the slots themselves.
        handed.await.unwrap_or_else(|_| self.slot(network))
    }

    fn slot(&self, network: Arc<str>) -> Slot {
        let pool = self.clone();
        Slot {
            held: Some(Held { pool, network }),
        }
    }

    fn give_back(&self, network: &Arc<str>) {
        let mut state = self.state();
        state.give_back(network);
        while let Some((network, hand)) = state.next() {
            // A cancelled waiter leaves the slot to the next.
            if let Err(mut unwanted) = hand.send(self.slot(Arc::clone(&network))) {
                unwanted.held = None;
                state.give_back(&network);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The network's name, shared while it is in use.
    fn key(&self, network: &str) -> Arc<str> {
        match self.networks.get_key_value(network) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(network),
        }
    }

    fn take_at_once(&mut self, network: &Arc<str>) -> bool {
        let free = self.free;
        let of_network = self.networks.entry(Arc::clone(network)).or_default();
        let may = of_network.may_take(free) && of_network.waiting.is_empty();
        if may {
            of_network.running += 1;
            self.free -= 1;
            self.taken += 1;
        }
        may
    }

    fn wait(&mut self, network: &Arc<str>) -> oneshot::Receiver<Slot> {
        let (hand, handed) = oneshot::channel();
        let ticket = self.tickets;
        self.tickets += 1;
        let of_network = self.networks.entry(Arc::clone(network)).or_default();
        of_network.waiting.push_back(Waiting { ticket, hand });
        handed
    }

    /// Takes a slot for the longest waiter whose network may have one.
    fn next(&mut self) -> Option<(Arc<str>, oneshot::Sender<Slot>)> {
        let free = self.free;
        let ready = self.networks.iter().filter(|(_, one)| one.may_take(free));
        let ready = ready.filter_map(|(network, one)| Some((one.waiting.front()?.ticket, network)));
        let (_, network) = ready.min_by_key(|(ticket, _)| *ticket)?;
        let network = Arc::clone(network);
        let of_network = self.networks.get_mut(&network)?;
        let first = of_network.waiting.pop_front()?;
        of_network.running += 1;
        self.free -= 1;
        self.taken += 1;
        Some((network, first.hand))
    }

    fn give_back(&mut self, network: &Arc<str>) {
        let Some(of_network) = self.networks.get_mut(network) else {
            return;
        };
        of_network.running -= 1;
        self.free += 1;
        self.taken -= 1;
        if of_network.running == 0 && of_network.waiting.is_empty() {
            self.networks.remove(network);
        }
    }
}

impl Network {
    fn may_take(&self, free: usize) -> bool {
        self.running < free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(Held { pool, network }) = self.held.take() {
            pool.give_back(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, poll};

    /// As many slots as the network gets at once.
    fn all(slots: &Slots, class: Class, network: &str) -> Vec<Slot> {
        std::iter::from_fn(|| slots.take(class, network).now_or_never()).collect()
    }

    #[tokio::test]
    async fn those_of_a_network_go_in_their_order() {
        let slots = Slots::new(1);
        let running = slots.take(Class::Takes, "a").await;
        let mut first = Box::pin(slots.take(Class::Takes, "a"));
        let mut second = Box::pin(slots.take(Class::Takes, "a"));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        drop(running);
        assert!(poll!(&mut second).is_pending());
        drop(first.await);
        drop(second.await);
    }

    #[tokio::test]
    async fn one_network_gets_as_many_as_are_configured() {
        for count in [1, 2, 16] {
            let slots = Slots::new(count);
            assert_eq!(all(&slots, Class::Takes, "a").len(), count);
        }
    }

    #[tokio::test]
    async fn a_del_never_waits_behind_adds_that_hang() {
        let slots = Slots::new(1);
        let hung = ["a", "b", "c"].map(|network| all(&slots, Class::Takes, network));
        assert_eq!(hung.iter().flatten().count(), 2, "there are no more");
        assert!(slots.take(Class::Frees, "a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn networks_that_hang_leave_slots_to_others() {
        for class in [Class::Takes, Class::Frees] {
            let slots = Slots::new(16);
            let mut hung = Vec::new();
            for network in ["a", "b", "c", "d"] {
                hung.push(all(&slots, class, network));
                // Also where more of it wait.
                let mut more = Box::pin(slots.take(class, network));
                assert!(poll!(&mut more).is_pending());
                assert!(slots.take(class, "other").now_or_never().is_some());
            }
        }
    }

    #[tokio::test]
    async fn what_waits_for_its_network_holds_up_no_other() {
        let slots = Slots::new(2);
        let mut of_a = all(&slots, Class::Takes, "a");
        let mut more_of_a = Box::pin(slots.take(Class::Takes, "a"));
        assert!(poll!(&mut more_of_a).is_pending());
        let of_b = slots.take(Class::Takes, "b").await;
        let mut more_of_b = Box::pin(slots.take(Class::Takes, "b"));
        assert!(poll!(&mut more_of_b).is_pending());
        // The first network is within its share again, and has waited longer.
        of_a.pop();
        let handed = poll!(&mut more_of_a);
        assert!(handed.is_ready());
        assert!(poll!(&mut more_of_b).is_pending());
        drop(of_b);
        assert!(poll!(&mut more_of_b).is_ready());
    }

    #[tokio::test]
    async fn slots_are_shared_while_two_are_taken() {
        let slots = Slots::new(2);
        assert!(!slots.are_shared());
        let first = slots.take(Class::Takes, "a").await;
        assert!(!slots.are_shared(), "there is only one");
        let second = slots.take(Class::Frees, "a").await;
        assert!(slots.are_shared());
        drop((first, second));
        assert!(!slots.are_shared());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_no_slot_away() {
        let slots = Slots::new(1);
        let running = slots.take(Class::Takes, "a").await;
        let mut gave_up = Box::pin(slots.take(Class::Takes, "a"));
        assert!(poll!(&mut gave_up).is_pending());
        let mut waiting = Box::pin(slots.take(Class::Takes, "a"));
        assert!(poll!(&mut waiting).is_pending());
        drop(gave_up);
        drop(running);
        drop(waiting.await);
        drop(slots.take(Class::Takes, "a").await);
        assert!(slots.takes.state().networks.is_empty());
    }

    #[tokio::test]
    async fn a_slot_that_is_not_taken_up_is_handed_on() {
        let slots = Slots::new(1);
        let running = slots.take(Class::Takes, "a").await;
        let mut gave_up = Box::pin(slots.take(Class::Takes, "a"));
        assert!(poll!(&mut gave_up).is_pending());
        drop(running);
        drop(gave_up);
        drop(slots.take(Class::Takes, "a").await);
        assert_eq!(slots.takes.state().free, 2);
    }
}
