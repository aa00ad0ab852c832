//! The memory budget of all guests of the daemon; requests wait for memory within it.
//!
//! Memories, tables, the stack and what the [footprint](crate::wasm::footprint) counts: before a call all
//! that the policy's limits allow, after it what the instance keeps. Requests wait only before a
//! call, so waiting costs no policy its time.
//!
//! Memory is shared fairly, see [`queue`]: a policy whose calls are slow, or a namespace with many
//! pods, delays itself. The last eighth of the budget is reserved for policies and namespaces that
//! hold none.
//!
//! Requests that hold instances and wait for each other would deadlock. So one of them at a time
//! may exceed the budget, by at most what its own policies may allocate; a request that holds
//! nothing always waits.

mod queue;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::config::Limits;
use queue::{Ask, Queue};

/// Bytes of a table element.
const ELEMENT: u64 = 16;

/// All that a guest with these limits may allocate, in bytes, with its stack.
pub(crate) fn most(limits: &Limits) -> u64 {
    allocated(limits.memory_bytes, limits.table_elements).saturating_add(limits.stack_bytes)
}

/// Bytes charged for this much memory and this many table elements.
pub(crate) fn allocated(memory: u64, table_elements: u64) -> u64 {
    memory.saturating_add(table_elements.saturating_mul(ELEMENT))
}

/// Holds an instance that no request uses.
pub(crate) trait Idle: Send + Sync {
    /// Drops the instance, which returns its memory.
    fn evict(&self);
}

/// The memory budget of all guests.
pub(crate) struct Memory {
    limit: u64,
    requests: AtomicU64,
    queue: Mutex<Queue>,
    /// Evicted before requests wait.
    idle: Mutex<Vec<Weak<dyn Idle>>>,
}

impl Memory {
    /// An unused budget.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            requests: AtomicU64::new(0),
            queue: Mutex::new(Queue::new(limit)),
            idle: Mutex::default(),
        }
    }

    /// Bytes for all guests together.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Peak usage of all guests together, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.queue().peak()
    }

    /// Opens the account of a request for a pod of `namespace`; empty for the node's own.
    pub(crate) fn account(self: &Arc<Self>, namespace: &str) -> Arc<Account> {
        Arc::new(Account {
            number: self.requests.fetch_add(1, Ordering::Relaxed),
            namespace: namespace.into(),
            held: AtomicU64::new(0),
            memory: Arc::clone(self),
        })
    }

    /// Registers an instance for eviction.
    pub(crate) fn made_ahead<T: Idle + 'static>(&self, idle: &Arc<T>) {
        let mut known = self.idle.lock();
        known.retain(|other| other.strong_count() > 0);
        if !known
            .iter()
            .any(|other| std::ptr::addr_eq(Weak::as_ptr(other), Arc::as_ptr(idle)))
        {
            let idle: Weak<T> = Arc::downgrade(idle);
            known.push(idle);
        }
    }

    /// Whether a request waits for memory.
    pub(crate) fn is_short(&self) -> bool {
        self.queue().is_short()
    }

    /// Evicts the instances that no request uses.
    fn evict_idle(&self) {
        let mut known = self.idle.lock();
        let evicted = std::mem::take(&mut *known);
        // Evicting an instance returns its memory.
        drop(known);
        for idle in evicted.iter().filter_map(Weak::upgrade) {
            idle.evict();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

/// The memory that one request holds.
pub(crate) struct Account {
    number: u64,
    namespace: Arc<str>,
    held: AtomicU64,
    memory: Arc<Memory>,
}

impl Account {
    /// Reserves memory for an instance of a policy, waiting until it is available.
    pub(crate) async fn reserve(self: &Arc<Self>, policy: &Arc<str>, bytes: u64) -> Reservation {
        let mut reservation = self.nothing(policy);
        reservation.raise(bytes).await;
        reservation
    }

    /// Reserves memory for an instance made ahead, if available without waiting.
    pub(crate) fn try_reserve(
        self: &Arc<Self>,
        policy: &Arc<str>,
        bytes: u64,
    ) -> Option<Reservation> {
        let mut reservation = self.nothing(policy);
        let taken = self.memory.queue().try_take(&reservation.ask(bytes));
        taken.then(|| {
            reservation.bytes = bytes;
            reservation
        })
    }

    fn nothing(self: &Arc<Self>, policy: &Arc<str>) -> Reservation {
        Reservation {
            bytes: 0,
            policy: Arc::clone(policy),
            account: Arc::clone(self),
        }
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// The memory of one instance, returned on drop.
pub(crate) struct Reservation {
    bytes: u64,
    policy: Arc<str>,
    account: Arc<Account>,
}

impl Reservation {
    /// Waits until the reservation has at least `bytes`.
    pub(crate) async fn raise(&mut self, bytes: u64) {
        let by = bytes.saturating_sub(self.bytes);
        if by == 0 {
            return;
        }
        let ask = self.ask(by);
        let taken = self.account.memory.queue().try_take(&ask);
        if !taken {
            Box::pin(wait(ask)).await;
        }
        self.bytes = self.bytes.saturating_add(by);
    }

    /// Returns what exceeds `bytes`.
    pub(crate) fn lower(&mut self, bytes: u64) {
        let by = self.bytes.saturating_sub(bytes);
        if by > 0 {
            self.bytes -= by;
            self.account.memory.queue().give_back(&self.ask(by));
        }
    }

    /// Moves the reservation to a request's account.
    pub(crate) fn move_to(&mut self, account: &Arc<Account>) {
        let from = self.ask(self.bytes);
        self.account = Arc::clone(account);
        let to = self.ask(self.bytes);
        account.memory.queue().transfer(&from, &to);
    }

    fn ask(&self, bytes: u64) -> Ask {
        Ask {
            account: Arc::clone(&self.account),
            policy: Arc::clone(&self.policy),
            has: self.bytes,
            bytes,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.lower(0);
    }
}

/// Waits for a place in the queue to be served.
async fn wait(ask: Ask) {
    let memory = Arc::clone(&ask.account.memory);
    tracing::debug!(
        target: "cnidaria::policy",
        policy = &*ask.policy, bytes = ask.bytes, limit = memory.limit,
        "a policy instance waits for guest memory",
    );
    // Before anything may exceed the budget.
    memory.evict_idle();
    let (number, mut served) = memory.queue().push(ask.clone());
    let mut waiting = Waiting {
        ask,
        number,
        done: false,
    };
    // One that was made meanwhile.
    memory.evict_idle();
    memory.queue().serve();
    // Cannot fail: only serving the place drops its sender.
    let _ = (&mut served).await;
    waiting.done = true;
}

/// A place in the queue; dropped early, it holds up no other.
struct Waiting {
    ask: Ask,
    number: u64,
    done: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.ask.account.memory.queue();
        if queue.remove(self.number) {
            queue.serve();
        } else {
            // Served, but the request has given up meanwhile.
            queue.give_back(&self.ask);
        }
    }
}

/// Wakes the request of a place that is served.
type Served = oneshot::Sender<()>;

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("limit", &self.limit)
            .field("queue", &*self.queue())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
