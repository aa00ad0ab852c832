//! The instances of one request, and how they go: nobody waits for that.
//!
//! To clear what an instance wrote takes about as long as a call. So instances are dropped by a task
//! of their own, which runs when the request waits for something, or has its answer.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::call::Instance;
use crate::policy::Policy;
use crate::report::Hook;

/// One place for each policy of the generation.
#[derive(Default)]
pub(super) struct Instances(Vec<Option<Instance>>);

impl Instances {
    /// Places for the instances of policies, none of which is made yet.
    pub(super) fn of(chain: &[Arc<Policy>]) -> Self {
        Self(chain.iter().map(|_| None).collect())
    }

    /// Takes the instance out of its place.
    pub(super) fn take(&mut self, index: usize) -> Option<Instance> {
        self.0.get_mut(index)?.take()
    }

    /// Puts an instance back into its place.
    pub(super) fn keep(&mut self, index: usize, instance: Instance) {
        if let Some(place) = self.0.get_mut(index) {
            *place = Some(instance);
        }
    }

    /// Drops the instances of the policies that have none of the hooks which are still to come.
    pub(super) fn leave<const N: usize>(&mut self, to_come: [Hook; N], chain: &[Arc<Policy>]) {
        let places = self.0.iter_mut().zip(chain);
        let done = places
            .filter(|(_, policy)| !to_come.iter().any(|hook| policy.has(*hook)))
            .filter_map(|(place, _)| place.take());
        drop_aside(done.collect());
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        drop_aside(self.0.drain(..).flatten().collect());
    }
}

fn drop_aside(instances: Vec<Instance>) {
    if instances.is_empty() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move { drop(instances) });
    }
}
