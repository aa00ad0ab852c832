//! How many delegates run at once: a burst of ADDs must not fill the daemon's memory with their
//! processes. Whoever frees something goes first; apart from that, first come, first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Whose turn it is when a slot is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// DEL and GC, and undoing: they give back addresses and memory.
    Frees,
    /// ADD, CHECK and STATUS.
    Takes,
}

/// A bounded number of slots.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    count: usize,
    free: usize,
    frees: VecDeque<oneshot::Sender<Slot>>,
    takes: VecDeque<oneshot::Sender<Slot>>,
}

/// The right to execute one delegate. Ends with its scope.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` once it was handed on.
    state: Option<Arc<Mutex<State>>>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let count = count.max(1);
        let state = State {
            count,
            free: count,
            frees: VecDeque::new(),
            takes: VecDeque::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Waits for a slot.
    pub(super) async fn take(&self, class: Class) -> Slot {
        let handed = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 {
                state.free -= 1;
                return self.slot();
            }
            let (hand, handed) = oneshot::channel();
            match class {
                Class::Frees => state.frees.push_back(hand),
                Class::Takes => state.takes.push_back(hand),
            }
            handed
        };
        // The sender is dropped only together with the slots themselves.
        handed.await.unwrap_or_else(|_| self.slot())
    }

    /// Whether more than one is taken.
    pub(super) fn are_shared(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free + 1 < state.count
    }

    fn slot(&self) -> Slot {
        Slot {
            state: Some(Arc::clone(&self.state)),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(shared) = self.state.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let next = state.frees.pop_front().or_else(|| state.takes.pop_front());
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Slot {
                state: Some(Arc::clone(&shared)),
            }) {
                Ok(()) => return,
                // Gave up waiting: the slot is still ours to hand on, not to give back.
                Err(mut unwanted) => unwanted.state = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    #[tokio::test]
    async fn del_goes_first_and_others_in_their_order() {
        let slots = Slots::new(1);
        let running = slots.take(Class::Takes).await;
        let mut first = Box::pin(slots.take(Class::Takes));
        let mut second = Box::pin(slots.take(Class::Takes));
        let mut del = Box::pin(slots.take(Class::Frees));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut del).is_pending());
        drop(running);
        assert!(poll!(&mut first).is_pending());
        drop(del.await);
        assert!(poll!(&mut second).is_pending());
        drop(first.await);
        drop(second.await);
    }

    #[tokio::test]
    async fn slots_are_shared_while_two_are_taken() {
        let slots = Slots::new(2);
        assert!(!slots.are_shared());
        let first = slots.take(Class::Takes).await;
        assert!(!slots.are_shared(), "one has nobody to share with");
        let second = slots.take(Class::Frees).await;
        assert!(slots.are_shared());
        drop((first, second));
        assert!(!slots.are_shared());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_no_slot_away() {
        let slots = Slots::new(1);
        let running = slots.take(Class::Takes).await;
        let mut gave_up = Box::pin(slots.take(Class::Frees));
        assert!(poll!(&mut gave_up).is_pending());
        let mut waiting = Box::pin(slots.take(Class::Takes));
        assert!(poll!(&mut waiting).is_pending());
        drop(gave_up);
        drop(running);
        drop(waiting.await);
        drop(slots.take(Class::Takes).await);
    }

    #[tokio::test]
    async fn who_was_handed_a_slot_and_gives_up_hands_it_on() {
        let slots = Slots::new(1);
        let running = slots.take(Class::Takes).await;
        let mut gave_up = Box::pin(slots.take(Class::Frees));
        assert!(poll!(&mut gave_up).is_pending());
        drop(running);
        drop(gave_up);
        drop(slots.take(Class::Takes).await);
    }
}
