//! Who gets memory next: the request whose policy and namespace hold least.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::{Account, Served};

/// The share of the budget that only policies and namespaces without memory get.
const RESERVE: u64 = 8;

/// Memory that a request asks for.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) account: Arc<Account>,
    pub(super) policy: Arc<str>,
    /// Bytes that the same instance has already.
    pub(super) has: u64,
    /// Bytes in addition.
    pub(super) bytes: u64,
}

/// Memory in use, and the requests that wait for it.
#[derive(Default)]
pub(super) struct Queue {
    limit: u64,
    bytes: u64,
    peak: u64,
    /// What the instances of each policy hold.
    policies: BTreeMap<Arc<str>, u64>,
    /// What the requests of each namespace hold.
    namespaces: BTreeMap<Arc<str>, u64>,
    waiting: Vec<Place>,
    places: u64,
    /// The request that may exceed the budget.
    beyond: Option<u64>,
}

struct Place {
    number: u64,
    ask: Ask,
    served: Served,
}

/// What others of the same policy, and of the same namespace, hold.
struct Share {
    policy: u64,
    namespace: u64,
}

impl Share {
    /// The rank in the queue: less goes first.
    fn sum(&self) -> u64 {
        self.policy.saturating_add(self.namespace)
    }

    /// Whether the policy or the namespace has nothing, so that the reserve is for it.
    fn is_new(&self) -> bool {
        self.policy == 0 || self.namespace == 0
    }
}

impl Queue {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a request waits.
    pub(super) fn is_short(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes memory if it is available and no request waits for it.
    pub(super) fn try_take(&mut self, ask: &Ask) -> bool {
        let taken = !self.is_short() && self.fits(ask, &self.share(ask));
        if taken {
            self.add(ask);
        }
        taken
    }

    /// Adds a place at the end; it is served by the next [`serve`](Self::serve) at the earliest.
    pub(super) fn push(&mut self, ask: Ask) -> (u64, oneshot::Receiver<()>) {
        let number = self.places;
        self.places += 1;
        let (served, receiver) = oneshot::channel();
        self.waiting.push(Place {
            number,
            ask,
            served,
        });
        (number, receiver)
    }

    /// Removes a place; `false` if it was served already.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|place| place.number != number);
        self.waiting.len() < before
    }

    /// Returns memory, and serves those who wait for it.
    pub(super) fn give_back(&mut self, ask: &Ask) {
        self.subtract(ask);
        if self.beyond == Some(ask.account.number) && self.bytes <= self.limit {
            // Its call is over, and another may need to go beyond in order to end.
            self.beyond = None;
        }
        self.serve();
    }

    /// Moves memory from one account to another.
    pub(super) fn transfer(&mut self, from: &Ask, to: &Ask) {
        self.subtract(from);
        self.add(to);
    }

    /// Serves places as long as memory lasts.
    pub(super) fn serve(&mut self) {
        if self.bytes <= self.open() {
            self.beyond = None;
        }
        while let Some(index) = self.next() {
            // In order of arrival, so that equals keep theirs.
            let place = self.waiting.remove(index);
            self.add(&place.ask);
            // If the request has given up, its place returns the memory.
            let _ = place.served.send(());
        }
    }

    /// The place to serve next: the first by rank. While the memory does not suffice for it, the
    /// first that may use the reserve, or any that holds instances, so that these are returned.
    /// If no memory suffices, one of the latter exceeds the budget.
    fn next(&mut self) -> Option<usize> {
        let mut ranked: Vec<(u64, usize)> = Vec::with_capacity(self.waiting.len());
        for (index, place) in self.waiting.iter().enumerate() {
            ranked.push((self.share(&place.ask).sum(), index));
        }
        ranked.sort_unstable();
        let mut holder = None;
        let (mut is_first, mut is_first_new) = (true, true);
        for (_, index) in ranked {
            let place = self.waiting.get(index)?;
            let share = self.share(&place.ask);
            let holds = place.ask.account.held() > 0;
            let is_next = is_first || holds || (is_first_new && share.is_new());
            if is_next && self.fits(&place.ask, &share) {
                return Some(index);
            }
            is_first = false;
            is_first_new &= !share.is_new();
            if holds && holder.is_none_or(|_| self.beyond == Some(place.ask.account.number)) {
                holder = Some((index, place.ask.account.number));
            }
        }
        let (index, number) = holder?;
        if self.beyond.is_some_and(|beyond| beyond != number) {
            return None;
        }
        self.beyond = Some(number);
        Some(index)
    }

    fn fits(&self, ask: &Ask, share: &Share) -> bool {
        let limit = match share.is_new() {
            true => self.limit,
            false => self.open(),
        };
        self.bytes.saturating_add(ask.bytes) <= limit
    }

    /// The budget without the reserve.
    fn open(&self) -> u64 {
        self.limit - self.limit / RESERVE
    }

    fn share(&self, ask: &Ask) -> Share {
        let held = |shares: &BTreeMap<Arc<str>, u64>, name| shares.get(name).copied().unwrap_or(0);
        let (policy, namespace) = (
            held(&self.policies, &ask.policy),
            held(&self.namespaces, &ask.account.namespace),
        );
        Share {
            policy: policy.saturating_sub(ask.has),
            namespace: namespace.saturating_sub(ask.account.held()),
        }
    }

    fn add(&mut self, ask: &Ask) {
        self.bytes = self.bytes.saturating_add(ask.bytes);
        self.peak = self.peak.max(self.bytes);
        ask.account.held.fetch_add(ask.bytes, Ordering::Relaxed);
        for (shares, name) in [
            (&mut self.policies, &ask.policy),
            (&mut self.namespaces, &ask.account.namespace),
        ] {
            match shares.get_mut(name) {
                Some(share) => *share = share.saturating_add(ask.bytes),
                None => drop(shares.insert(Arc::clone(name), ask.bytes)),
            }
        }
    }

    fn subtract(&mut self, ask: &Ask) {
        self.bytes = self.bytes.saturating_sub(ask.bytes);
        ask.account.held.fetch_sub(ask.bytes, Ordering::Relaxed);
        for (shares, name) in [
            (&mut self.policies, &ask.policy),
            (&mut self.namespaces, &ask.account.namespace),
        ] {
            if let Some(share) = shares.get_mut(name) {
                *share = share.saturating_sub(ask.bytes);
                if *share == 0 {
                    shares.remove(name);
                }
            }
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("used", &self.bytes)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}
