//! Limits how many delegates run at once: a burst of ADDs must not fill the node's memory, and
//! delegates that hang must not delay other networks or namespaces.
//!
//! There are four pools. DEL, GC and undos are separate from ADD, so that a DEL never waits behind
//! an ADD; the default network is separate from the others, so that no secondary network starves
//! it. In each pool
//!
//! - a network runs at most `count` delegates,
//! - the pods of one namespace run at most twice as many, whatever their networks: one network that
//!   hangs leaves slots to the namespace's others,
//! - all together run at most three times as many; beyond that a network may start only its first
//!   one, so that delegates that hang never block another network entirely.
//!
//! Within these limits, slots are granted in FIFO order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use cnidaria_core::domain::entry::Entry;

/// What a delegate's execution does to the node's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// DEL, GC and undos, which free addresses and memory.
    Frees,
    /// ADD, CHECK and STATUS.
    Takes,
}

/// The network and namespace that a slot is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client<'a> {
    network: &'a str,
    /// The pod's namespace; `None` for GC and STATUS, and where it is unknown.
    namespace: Option<&'a str>,
    is_default: bool,
}

impl<'a> Client<'a> {
    /// The client of an attachment. A default network that the pod chose itself counts as a
    /// secondary network.
    pub(super) fn of(entry: &'a Entry) -> Self {
        Self::of_pod(
            entry.pod.namespace.as_str(),
            entry.network.as_str(),
            entry.is_default && !entry.is_chosen,
        )
    }

    fn of_pod(namespace: &'a str, network: &'a str, is_default: bool) -> Self {
        // Of entries by older daemons only the name tells that the pod's namespace defines it.
        let is_own = network
            .strip_prefix(namespace)
            .is_some_and(|name| name.starts_with('/'));
        Self {
            network,
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
            is_default: is_default && !is_own,
        }
    }

    /// The client of calls for a whole network.
    pub(super) fn network(network: &'a str) -> Self {
        Self {
            network,
            namespace: None,
            is_default: false,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Slots {
    frees: Pools,
    takes: Pools,
}

/// The two pools of a class.
#[derive(Debug, Clone)]
struct Pools {
    default: Pool,
    others: Pool,
}

/// A bounded number of slots.
#[derive(Debug, Clone)]
struct Pool {
    state: Arc<Mutex<PoolState>>,
}

#[derive(Debug)]
struct PoolState {
    /// The limit for one network.
    count: usize,
    taken: usize,
    networks: HashMap<Arc<str>, usize>,
    namespaces: HashMap<Arc<str>, usize>,
    /// In order of arrival.
    waiting: VecDeque<Waiting>,
}

/// What a slot is charged to.
#[derive(Debug, Clone)]
struct Charged {
    network: Arc<str>,
    namespace: Option<Arc<str>>,
}

#[derive(Debug)]
struct Waiting {
    charged: Charged,
    hand: oneshot::Sender<Slot>,
}

/// Permission to execute one delegate, returned on drop.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` once given back.
    held: Option<(Pool, Charged)>,
}

impl Slots {
    /// Each pool runs `count` delegates of one network at once, twice as many of one namespace, and
    /// three times as many in all.
    pub(super) fn new(count: usize) -> Self {
        let pools = || Pools {
            default: Pool::new(count.max(1)),
            others: Pool::new(count.max(1)),
        };
        Self {
            frees: pools(),
            takes: pools(),
        }
    }

    /// Waits for a slot.
    pub(super) async fn take(&self, class: Class, client: Client<'_>) -> Slot {
        let pools = match class {
            Class::Frees => &self.frees,
            Class::Takes => &self.takes,
        };
        match client.is_default {
            true => pools.default.take(client).await,
            false => pools.others.take(client).await,
        }
    }

    /// How many slots are taken, and how many calls wait for one.
    pub(super) fn load(&self) -> (usize, usize) {
        let pools = [&self.frees, &self.takes].into_iter();
        let pools = pools.flat_map(|one| [&one.default, &one.others]);
        pools.fold((0, 0), |(taken, waiting), pool| {
            let state = pool.state();
            (taken + state.taken, waiting + state.waiting.len())
        })
    }

    /// Whether more than one slot is taken.
    pub(super) fn are_shared(&self) -> bool {
        let pools = [&self.frees, &self.takes].into_iter();
        let taken = pools.map(|one| one.default.state().taken + one.others.state().taken);
        taken.sum::<usize>() > 1
    }
}

impl Pool {
    fn new(count: usize) -> Self {
        let state = PoolState {
            count,
            taken: 0,
            networks: HashMap::new(),
            namespaces: HashMap::new(),
            waiting: VecDeque::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    async fn take(&self, client: Client<'_>) -> Slot {
        let (charged, handed) = {
            let mut state = self.state();
            let charged = state.charged(client);
            // Current waiters are all over their limits, so this overtakes none that could start.
            if state.may_begin(&charged) {
                state.begin(&charged);
                return self.slot(charged);
            }
            let handed = state.wait(charged.clone());
            (charged, handed)
        };
        // The sender is dropped only together with the pool.
        handed.await.unwrap_or_else(|_| self.slot(charged))
    }

    fn slot(&self, charged: Charged) -> Slot {
        Slot {
            held: Some((self.clone(), charged)),
        }
    }

    fn give_back(&self, charged: &Charged) {
        let mut state = self.state();
        state.end(charged);
        while let Some(Waiting { charged, hand }) = state.next() {
            // A cancelled waiter leaves its slot to the next.
            if let Err(mut unwanted) = hand.send(self.slot(charged.clone())) {
                unwanted.held = None;
                state.end(&charged);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock()
    }
}

impl PoolState {
    /// Interns the names for as long as they are in use.
    fn charged(&self, client: Client<'_>) -> Charged {
        let shared = |running: &HashMap<Arc<str>, usize>, name: &str| {
            let known = running.get_key_value(name);
            known.map_or_else(|| Arc::from(name), |(name, _)| Arc::clone(name))
        };
        Charged {
            network: shared(&self.networks, client.network),
            namespace: client.namespace.map(|name| shared(&self.namespaces, name)),
        }
    }

    fn may_begin(&self, charged: &Charged) -> bool {
        let of_network = running(&self.networks, &charged.network);
        let namespace = charged.namespace.as_ref();
        let of_namespace = namespace.map_or(0, |name| running(&self.namespaces, name));
        let is_within = self.taken < self.count.saturating_mul(3);
        of_network < self.count
            && of_namespace < self.count.saturating_mul(2)
            && (is_within || of_network == 0)
    }

    fn begin(&mut self, charged: &Charged) {
        let network = Arc::clone(&charged.network);
        *self.networks.entry(network).or_default() += 1;
        if let Some(namespace) = &charged.namespace {
            let namespace = Arc::clone(namespace);
            *self.namespaces.entry(namespace).or_default() += 1;
        }
        self.taken += 1;
    }

    fn end(&mut self, charged: &Charged) {
        one_less(&mut self.networks, &charged.network);
        if let Some(namespace) = &charged.namespace {
            one_less(&mut self.namespaces, namespace);
        }
        self.taken -= 1;
    }

    fn wait(&mut self, charged: Charged) -> oneshot::Receiver<Slot> {
        let (hand, handed) = oneshot::channel();
        self.waiting.retain(|one| !one.hand.is_closed());
        self.waiting.push_back(Waiting { charged, hand });
        handed
    }

    /// Starts the longest waiter that is within its limits.
    fn next(&mut self) -> Option<Waiting> {
        let mut waiting = self.waiting.iter();
        let first = waiting.position(|one| self.may_begin(&one.charged))?;
        let first = self.waiting.remove(first)?;
        self.begin(&first.charged);
        Some(first)
    }
}

fn running(all: &HashMap<Arc<str>, usize>, name: &str) -> usize {
    all.get(name).copied().unwrap_or_default()
}

fn one_less(all: &mut HashMap<Arc<str>, usize>, name: &Arc<str>) {
    if let Some(count) = all.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            all.remove(name);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((pool, charged)) = self.held.take() {
            pool.give_back(&charged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, poll};

    /// A pod's secondary network.
    fn of<'a>(namespace: &'a str, network: &'a str) -> Client<'a> {
        Client {
            network,
            namespace: Some(namespace),
            is_default: false,
        }
    }

    fn default_of(namespace: &str) -> Client<'_> {
        Client {
            is_default: true,
            ..of(namespace, "pod-net")
        }
    }

    /// Takes as many slots as a client gets at once.
    fn all(slots: &Slots, class: Class, client: Client<'_>) -> Vec<Slot> {
        std::iter::from_fn(|| slots.take(class, client).now_or_never()).collect()
    }

    #[tokio::test]
    async fn those_of_a_network_go_in_their_order() {
        let slots = Slots::new(1);
        let a = Client::network("a");
        let running = slots.take(Class::Takes, a).await;
        let mut first = Box::pin(slots.take(Class::Takes, a));
        let mut second = Box::pin(slots.take(Class::Takes, a));
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
            for client in [Client::network("a"), of("shop", "b"), default_of("shop")] {
                assert_eq!(all(&slots, Class::Takes, client).len(), count);
            }
        }
    }

    #[tokio::test]
    async fn a_del_never_waits_behind_adds_that_hang() {
        let slots = Slots::new(1);
        let hung = ["a", "b", "c"].map(|name| all(&slots, Class::Takes, of(name, name)));
        assert!(hung.iter().all(|slots| slots.len() == 1));
        let del = slots.take(Class::Frees, of("a", "a"));
        assert!(del.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_namespace_that_hangs_leaves_slots_to_others() {
        for class in [Class::Takes, Class::Frees] {
            let slots = Slots::new(4);
            let names: Vec<_> = (0..20).map(|number| format!("shop/h{number}")).collect();
            let hung = names.iter();
            let hung: Vec<_> = hung
                .flat_map(|n| all(&slots, class, of("shop", n)))
                .collect();
            assert_eq!(hung.len(), 8, "whatever the number of its networks");
            assert_eq!(all(&slots, class, of("bank", "bank/a")).len(), 4);
        }
    }

    #[tokio::test]
    async fn a_hanging_network_leaves_its_namespace_slots() {
        for (class, count) in [(Class::Takes, 1), (Class::Frees, 4)] {
            let slots = Slots::new(count);
            let hung = all(&slots, class, of("shop", "shop/hangs"));
            assert_eq!(hung.len(), count);
            assert_eq!(all(&slots, class, of("shop", "shop/works")).len(), count);
        }
    }

    #[tokio::test]
    async fn a_chosen_default_network_is_the_namespaces() {
        let slots = Slots::new(2);
        for chosen in ["shop/own", "bank/other"] {
            let mut client = Client::of_pod("shop", chosen, false);
            let hung = all(&slots, Class::Takes, client);
            assert_eq!(hung.len(), 2);
            client.network = "bank/third";
            let more = all(&slots, Class::Takes, client);
            client.network = "bank/fourth";
            assert!(
                all(&slots, Class::Takes, client).is_empty(),
                "{}",
                more.len()
            );
            assert_eq!(all(&slots, Class::Takes, default_of("shop")).len(), 2);
        }
        assert!(!Client::of_pod("shop", "shop/own", true).is_default);
        assert!(Client::of_pod("shop", "kube-system/pod-net", true).is_default);
    }

    #[tokio::test]
    async fn a_network_without_a_slot_can_always_begin() {
        for class in [Class::Takes, Class::Frees] {
            let slots = Slots::new(2);
            let tenants = ["a", "b", "c", "d", "e", "f"];
            let hung = tenants.map(|name| all(&slots, class, of(name, name)));
            assert!(hung.iter().all(|slots| !slots.is_empty()));
            let mut other = all(&slots, class, of("bank", "bank/a"));
            assert_eq!(other.len(), 1, "there are no more");
            let mut waiting = Box::pin(slots.take(class, of("bank", "bank/a")));
            assert!(poll!(&mut waiting).is_pending());
            other.pop();
            assert!(poll!(&mut waiting).is_ready());
        }
    }

    #[tokio::test]
    async fn secondary_networks_starve_no_default_one() {
        let slots = Slots::new(2);
        let tenants = ["a", "b", "c", "d", "e"];
        let _hung = tenants.map(|name| all(&slots, Class::Takes, of(name, name)));
        for tenant in ["a", "other"] {
            assert_eq!(all(&slots, Class::Takes, default_of(tenant)).len(), 2);
        }
    }

    #[tokio::test]
    async fn a_namespace_at_its_bound_holds_up_no_other() {
        let slots = Slots::new(2);
        let mut own = all(&slots, Class::Takes, of("a", "a/x"));
        own.extend(all(&slots, Class::Takes, of("a", "a/y")));
        let mut shared = Box::pin(slots.take(Class::Takes, of("a", "shared")));
        assert!(poll!(&mut shared).is_pending());
        let of_b = slots.take(Class::Takes, of("b", "shared")).now_or_never();
        assert!(of_b.is_some());
        own.pop();
        assert!(poll!(&mut shared).is_ready());
    }

    #[tokio::test]
    async fn slots_are_shared_while_two_are_taken() {
        let slots = Slots::new(2);
        assert!(!slots.are_shared());
        let first = slots.take(Class::Takes, default_of("a")).await;
        assert!(!slots.are_shared(), "there is only one");
        let second = slots.take(Class::Frees, of("a", "a")).await;
        assert!(slots.are_shared());
        drop((first, second));
        assert!(!slots.are_shared());
    }

    #[tokio::test]
    async fn a_cancelled_waiter_takes_no_slot_away() {
        let slots = Slots::new(1);
        let a = of("a", "a");
        let running = slots.take(Class::Takes, a).await;
        let mut gave_up = Box::pin(slots.take(Class::Takes, a));
        assert!(poll!(&mut gave_up).is_pending());
        let mut waiting = Box::pin(slots.take(Class::Takes, a));
        assert!(poll!(&mut waiting).is_pending());
        drop(gave_up);
        drop(running);
        drop(waiting.await);
        drop(slots.take(Class::Takes, a).await);
        let state = slots.takes.others.state();
        assert!(state.networks.is_empty() && state.namespaces.is_empty());
        assert!(state.waiting.is_empty() && state.taken == 0);
    }

    #[tokio::test]
    async fn a_slot_that_is_not_taken_up_is_handed_on() {
        let slots = Slots::new(1);
        let a = of("a", "a");
        let running = slots.take(Class::Takes, a).await;
        let mut gave_up = Box::pin(slots.take(Class::Takes, a));
        assert!(poll!(&mut gave_up).is_pending());
        drop(running);
        drop(gave_up);
        drop(slots.take(Class::Takes, a).await);
        assert_eq!(slots.takes.others.state().taken, 0);
    }
}
