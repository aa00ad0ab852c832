//! The instances of one request. Requests wait neither for dropping them nor for making new ones.

use std::sync::Arc;

use super::{Pool, Refill, Work};
use crate::model::request::RequestFacts;
use crate::wasm::instance::Instance;
use crate::wasm::memory::Account;

/// Maximum number of policies with an instance made ahead. These hold slots that requests need too.
const AHEAD: usize = 32;

/// The instances of a request, one place for each policy of the generation.
pub(crate) struct RequestInstances {
    places: Vec<Option<Instance>>,
    /// Instances to make ahead, in place of those that the request used.
    refills: Vec<Refill>,
    pool: Arc<Pool>,
    /// The account charged for the instances' memory.
    account: Arc<Account>,
}

impl RequestInstances {
    /// Empty places for the policies of a generation.
    pub(crate) fn new(policies: usize, pool: &Arc<Pool>, facts: &RequestFacts) -> Self {
        let namespace = facts.pod.as_ref().map(|pod| pod.namespace.as_str());
        pool.begin_request();
        Self {
            places: (0..policies).map(|_| None).collect(),
            refills: Vec::new(),
            account: pool.services.memory.account(namespace.unwrap_or_default()),
            pool: Arc::clone(pool),
        }
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Takes a policy's instance out of its place.
    pub(crate) fn take(&mut self, index: usize) -> Option<Instance> {
        self.places.get_mut(index)?.take()
    }

    /// Has an instance made ahead for the next request of a policy.
    pub(crate) fn refill(&mut self, index: usize, refill: impl FnOnce() -> Option<Refill>) {
        if index < AHEAD {
            self.refills.extend(refill());
        }
    }

    /// Puts an instance back into its place.
    pub(crate) fn put_back(&mut self, index: usize, instance: Instance) {
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(instance);
        }
    }

    /// If other requests may need slots, drops the instances of policies that `is_done` with it.
    pub(crate) fn drop_done(&mut self, is_done: impl Fn(usize) -> bool) {
        if self.pool.is_quiet() {
            return;
        }
        let places = self.places.iter_mut().enumerate();
        let done = places
            .filter(|(index, _)| is_done(*index))
            .filter_map(|(_, place)| place.take())
            .collect();
        self.pool.start(Work {
            done,
            refills: Vec::new(),
        });
    }
}

impl Drop for RequestInstances {
    fn drop(&mut self) {
        let done = self.places.drain(..).flatten().collect();
        let refills = std::mem::take(&mut self.refills);
        self.pool.end_request(Work { done, refills });
    }
}
