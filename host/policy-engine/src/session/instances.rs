//! The instances of one request. Nobody waits for their end, and not for the next ones to come.

use std::sync::Arc;

use crate::call::Instance;
use crate::leftovers::{self, Work};
use crate::memory::Account;
use crate::policy::Policy;
use crate::report::Hook;
use crate::services::Services;

/// So many policies have an instance that waits for the next request. They take slots, of which
/// requests need some, too.
const AHEAD: usize = 32;

/// One place for each policy of the generation.
pub(super) struct Instances {
    places: Vec<Option<Instance>>,
    /// Policies that have made an instance for this request since others were made ahead.
    used: Vec<Arc<Policy>>,
    services: Arc<Services>,
    /// What they count against.
    account: Arc<Account>,
}

impl Instances {
    /// Places for the instances of policies, none of which is made yet.
    pub(super) fn of(chain: &[Arc<Policy>], services: &Arc<Services>) -> Self {
        services.leftovers.begin();
        Self {
            places: chain.iter().map(|_| None).collect(),
            used: Vec::new(),
            services: Arc::clone(services),
            account: services.memory.account(),
        }
    }

    /// What the instances count against.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Takes the instance out of its place.
    pub(super) fn take(&mut self, index: usize) -> Option<Instance> {
        self.places.get_mut(index)?.take()
    }

    /// Keeps in mind that a policy needs an instance for the next request.
    pub(super) fn used(&mut self, index: usize, policy: &Arc<Policy>) {
        if index < AHEAD {
            self.used.push(Arc::clone(policy));
        }
    }

    /// Puts an instance back into its place.
    pub(super) fn keep(&mut self, index: usize, instance: Instance) {
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(instance);
        }
    }

    /// Drops the instances of the policies that have none of the hooks which are still to come, where
    /// other requests may want their slots.
    pub(super) fn leave<const N: usize>(&mut self, to_come: [Hook; N], chain: &[Arc<Policy>]) {
        if self.services.leftovers.is_quiet() {
            return;
        }
        let places = self.places.iter_mut().zip(chain);
        let done = places
            .filter(|(_, policy)| !to_come.iter().any(|hook| policy.has(*hook)))
            .filter_map(|(place, _)| place.take())
            .collect();
        let used = Vec::new();
        leftovers::tend(&self.services, Work { done, used });
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        let done = self.places.drain(..).flatten().collect();
        let used = std::mem::take(&mut self.used);
        leftovers::end(&self.services, Work { done, used });
    }
}
