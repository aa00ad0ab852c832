//! The memory budget of all guests of the daemon; requests wait for memory within it.
//!
//! Linear memories and tables count: before a call all that the policy's limits allow, after it
//! what the instance uses. Requests wait only before a call, so waiting costs no policy its time.
//!
//! Requests that hold instances and wait for each other would deadlock. So one of them at a time
//! may exceed the budget, by at most what its own policies may allocate; a request that holds
//! nothing always waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::config::Limits;
use crate::ready::Ready;

/// Bytes of a table element.
const ELEMENT: u64 = 16;

/// All that a policy with these limits may allocate, in bytes.
pub(crate) fn most(limits: &Limits) -> u64 {
    allocated(limits.memory_bytes, limits.table_elements)
}

/// Bytes charged for this much memory and this many table elements.
pub(crate) fn allocated(memory: u64, table_elements: u64) -> u64 {
    memory.saturating_add(table_elements.saturating_mul(ELEMENT))
}

/// The memory budget of all guests.
pub(crate) struct Memory {
    limit: u64,
    requests: AtomicU64,
    used: Mutex<Used>,
    /// Notified when memory is returned.
    given_back: Notify,
    /// Instances made ahead, evicted first.
    ready: Mutex<Vec<Weak<Ready>>>,
}

#[derive(Default)]
struct Used {
    bytes: u64,
    /// Peak usage in bytes.
    peak: u64,
    /// Requests that wait and hold nothing, in order.
    queue: VecDeque<u64>,
    /// The request that may exceed the budget.
    beyond: Option<u64>,
}

impl Memory {
    /// An unused budget.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            requests: AtomicU64::new(0),
            used: Mutex::default(),
            given_back: Notify::new(),
            ready: Mutex::default(),
        }
    }

    /// Bytes for all guests together.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Peak usage of all guests together, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.used().peak
    }

    /// Opens the account of a request.
    pub(crate) fn account(self: &Arc<Self>) -> Arc<Account> {
        Arc::new(Account {
            number: self.requests.fetch_add(1, Ordering::Relaxed),
            held: AtomicU64::new(0),
            memory: Arc::clone(self),
        })
    }

    /// Registers an instance made ahead for eviction.
    pub(crate) fn made_ahead(&self, ready: &Arc<Ready>) {
        let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| other.strong_count() > 0);
        if !known
            .iter()
            .any(|other| Weak::as_ptr(other) == Arc::as_ptr(ready))
        {
            known.push(Arc::downgrade(ready));
        }
    }

    /// Whether a request waits for memory.
    pub(crate) fn is_short(&self) -> bool {
        !self.used().queue.is_empty()
    }

    /// Evicts the instances made ahead.
    fn drop_ready(&self) {
        let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        for ready in std::mem::take(&mut *known) {
            drop(ready.upgrade().and_then(|ready| ready.take()));
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut used = self.used();
        used.bytes = used.bytes.saturating_sub(bytes);
        if used.bytes <= self.limit {
            used.beyond = None;
        }
        drop(used);
        self.given_back.notify_waiters();
    }
}

impl Used {
    fn add(&mut self, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.peak = self.peak.max(self.bytes);
        true
    }
}

/// The memory that one request holds.
pub(crate) struct Account {
    number: u64,
    held: AtomicU64,
    memory: Arc<Memory>,
}

impl Account {
    /// Reserves memory for an instance, waiting until it is available.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        let mut reservation = self.nothing();
        self.raise(&mut reservation, bytes).await;
        reservation
    }

    /// Reserves memory for an instance made ahead, if available without waiting.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut reservation = self.nothing();
        (!self.memory.is_short() && self.take(bytes)).then(|| {
            reservation.bytes = bytes;
            reservation
        })
    }

    fn nothing(self: &Arc<Self>) -> Reservation {
        Reservation {
            bytes: 0,
            account: Arc::clone(self),
        }
    }

    /// Waits until a reservation has at least `bytes`.
    async fn raise(&self, reservation: &mut Reservation, bytes: u64) {
        let by = bytes.saturating_sub(reservation.bytes);
        if by > 0 && !self.take(by) {
            Box::pin(self.wait(by)).await;
        }
        reservation.bytes = reservation.bytes.max(bytes);
    }

    async fn wait(&self, bytes: u64) {
        let _waiting = Waiting::of(self);
        tracing::debug!(
            target: "cnidaria::policy",
            bytes, limit = self.memory.limit, "waits for memory of guests",
        );
        self.memory.drop_ready();
        loop {
            // Created before the check, so that no notification is missed in between.
            let given_back = self.memory.given_back.notified();
            if self.take(bytes) {
                return;
            }
            given_back.await;
        }
    }

    fn take(&self, bytes: u64) -> bool {
        let holds = self.held.load(Ordering::Relaxed) > 0;
        let mut used = self.memory.used();
        let fits = used.bytes.saturating_add(bytes) <= self.memory.limit;
        let first = used.queue.front().is_none_or(|first| *first == self.number);
        let mine = used.beyond == Some(self.number);
        let taken = match (fits, holds) {
            (true, true) => used.add(bytes),
            (true, false) => first && used.add(bytes),
            (false, true) if mine || (used.beyond.is_none() && self.is_waiting(&used)) => {
                used.beyond = Some(self.number);
                used.add(bytes)
            }
            (false, _) => false,
        };
        if taken {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Whether the request is already queued. Only then may it exceed the budget: instances made
    /// ahead are evicted first.
    fn is_waiting(&self, used: &Used) -> bool {
        used.queue.contains(&self.number)
    }

    fn lower(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.give_back(bytes);
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a Account);

impl<'a> Waiting<'a> {
    fn of(account: &'a Account) -> Self {
        account.memory.used().queue.push_back(account.number);
        Self(account)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(account) = self;
        account
            .memory
            .used()
            .queue
            .retain(|number| *number != account.number);
        // The next request in the queue is now first.
        account.memory.given_back.notify_waiters();
    }
}

/// The memory of one instance, returned on drop.
pub(crate) struct Reservation {
    bytes: u64,
    account: Arc<Account>,
}

impl Reservation {
    /// Waits until the reservation has at least `bytes`.
    pub(crate) async fn raise(&mut self, bytes: u64) {
        let account = Arc::clone(&self.account);
        account.raise(self, bytes).await;
    }

    /// Returns what exceeds `bytes`.
    pub(crate) fn lower(&mut self, bytes: u64) {
        let by = self.bytes.saturating_sub(bytes);
        self.bytes -= by;
        self.account.lower(by);
    }

    /// Moves the reservation to a request's account.
    pub(crate) fn move_to(&mut self, account: &Arc<Account>) {
        self.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
        account.held.fetch_add(self.bytes, Ordering::Relaxed);
        self.account = Arc::clone(account);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.lower(self.bytes);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.used();
        f.debug_struct("Memory")
            .field("limit", &self.limit)
            .field("used", &used.bytes)
            .field("waiting", &used.queue.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn memory(limit: u64) -> Arc<Memory> {
        Arc::new(Memory::new(limit))
    }

    #[test]
    fn a_request_waits_until_memory_is_given_back() {
        let memory = memory(10);
        let first = memory.account().reserve(6).now_or_never().unwrap();
        let account = memory.account();
        let mut second = pin!(account.reserve(6));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
        assert_eq!(memory.used().bytes, 0);
        assert_eq!(memory.peak(), 6);
    }

    #[test]
    fn requests_that_wait_come_in_their_order() {
        let memory = memory(10);
        let mut first = memory.account().reserve(8).now_or_never().unwrap();
        let (large, small) = (memory.account(), memory.account());
        let mut large = pin!(large.reserve(9));
        assert!(large.as_mut().now_or_never().is_none());
        first.lower(1);
        // It would fit, but the other request would then wait for ever.
        let mut small = pin!(small.reserve(2));
        assert!(small.as_mut().now_or_never().is_none());
        let large = large.now_or_never().unwrap();
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        assert!(small.now_or_never().is_some());
    }

    #[test]
    fn a_request_that_gives_up_holds_up_no_other() {
        let memory = memory(10);
        let held = memory.account().reserve(8).now_or_never().unwrap();
        let (large, small) = (memory.account(), memory.account());
        let mut gone = Box::pin(large.reserve(9));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut small = pin!(small.reserve(2));
        assert!(small.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(small.now_or_never().is_some());
        drop(held);
        assert_eq!(memory.used().bytes, 0);
    }

    #[test]
    fn of_those_that_hold_memory_one_goes_beyond() {
        let memory = memory(10);
        let (one, other) = (memory.account(), memory.account());
        let first = one.reserve(5).now_or_never().unwrap();
        let second = other.reserve(5).now_or_never().unwrap();
        let third = one.reserve(5).now_or_never().unwrap();
        let mut fourth = pin!(other.reserve(5));
        assert!(fourth.as_mut().now_or_never().is_none());
        drop((first, third));
        let fourth = fourth.now_or_never().unwrap();
        drop((second, fourth));
        assert_eq!(memory.used().bytes, 0);
        assert_eq!(memory.peak(), 15);
    }

    #[test]
    fn one_that_holds_memory_passes_the_queue() {
        let memory = memory(10);
        let holder = memory.account();
        let held = holder.reserve(4).now_or_never().unwrap();
        let other = memory.account();
        let mut waiting = pin!(other.reserve(10));
        assert!(waiting.as_mut().now_or_never().is_none());
        let more = holder.reserve(4).now_or_never().unwrap();
        assert!(memory.account().try_reserve(1).is_none());
        drop((held, more));
        assert!(waiting.now_or_never().is_some());
    }
}
