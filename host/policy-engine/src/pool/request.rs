//! The instances of one request. Requests wait neither for dropping them nor for making new ones.

use std::sync::Arc;

use crate::load::policy::Policy;
use crate::model::report::Hook;
use crate::model::request::RequestFacts;
use crate::pool::background::{self, Work};
use crate::wasm::instance::Instance;
use crate::wasm::memory::Account;
use crate::wasm::services::Services;

/// Maximum number of policies with an instance made ahead. These hold slots that requests need too.
const AHEAD: usize = 32;

/// The instances of a request, one place for each policy of the generation.
pub(crate) struct Instances {
    places: Vec<Option<Instance>>,
    /// Policies that used an instance and need a new one made ahead.
    used: Vec<Arc<Policy>>,
    services: Arc<Services>,
    /// The account charged for the instances' memory.
    account: Arc<Account>,
}

impl Instances {
    /// Empty places for the policies of a generation.
    pub(crate) fn of(
        chain: &[Arc<Policy>],
        services: &Arc<Services>,
        facts: &RequestFacts,
    ) -> Self {
        let namespace = facts.pod.as_ref().map(|pod| pod.namespace.as_str());
        services.leftovers.begin();
        Self {
            places: chain.iter().map(|_| None).collect(),
            used: Vec::new(),
            services: Arc::clone(services),
            account: services.memory.account(namespace.unwrap_or_default()),
        }
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Takes a policy's instance out of its place.
    pub(crate) fn take(&mut self, index: usize) -> Option<Instance> {
        self.places.get_mut(index)?.take()
    }

    /// Records that a policy needs an instance made ahead for the next request.
    pub(crate) fn used(&mut self, index: usize, policy: &Arc<Policy>) {
        if index < AHEAD {
            self.used.push(Arc::clone(policy));
        }
    }

    /// Puts an instance back into its place.
    pub(crate) fn keep(&mut self, index: usize, instance: Instance) {
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(instance);
        }
    }

    /// If requests may need slots, drops instances of policies that have none of the coming hooks.
    pub(crate) fn leave<const N: usize>(&mut self, to_come: [Hook; N], chain: &[Arc<Policy>]) {
        if self.services.leftovers.is_quiet() {
            return;
        }
        let places = self.places.iter_mut().zip(chain);
        let done = places
            .filter(|(_, policy)| !to_come.iter().any(|hook| policy.has(*hook)))
            .filter_map(|(place, _)| place.take())
            .collect();
        let used = Vec::new();
        background::tend(&self.services, Work { done, used });
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        let done = self.places.drain(..).flatten().collect();
        let used = std::mem::take(&mut self.used);
        background::end(&self.services, Work { done, used });
    }
}
