//! What stands behind the grants of all policies: the daemon's ports, and the kept state.

use std::sync::Arc;

use crate::config::Grant;
use crate::config::Spec;
use crate::leftovers::Leftovers;
use crate::memory::Memory;
use crate::ports::{Cluster, Observer};
use crate::state::{PolicyState, States};

/// What stands behind the grants of all policies.
#[derive(Debug)]
pub(crate) struct Services {
    /// Where labels and confs are looked up.
    pub(crate) cluster: Option<Arc<dyn Cluster>>,
    /// Who counts.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// What policies keep.
    pub(crate) states: States,
    /// What all guests may allocate together.
    pub(crate) memory: Arc<Memory>,
    /// What is to be done when nobody waits.
    pub(crate) leftovers: Leftovers,
}

impl Services {
    /// What a policy keeps, where it may keep something.
    pub(crate) fn state_of(&self, spec: &Spec) -> Option<Arc<PolicyState>> {
        spec.grants
            .contains(&Grant::State)
            .then(|| self.states.open(&spec.name))
    }
}
