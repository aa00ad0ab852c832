//! The services behind the grants of all policies: the daemon's ports and the kept state.

use std::sync::Arc;

use crate::config::Spec;
use crate::model::grant::Grant;
use crate::model::ports::{Cluster, Observer};
use crate::state::{PolicyState, States};
use crate::wasm::memory::Memory;

/// The services that all policies share.
#[derive(Debug)]
pub(crate) struct Services {
    /// Looks up labels, annotations and confs.
    pub(crate) cluster: Option<Arc<dyn Cluster>>,
    /// Receives metrics.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// State that policies keep between requests.
    pub(crate) states: Arc<States>,
    /// Memory budget of all guests.
    pub(crate) memory: Arc<Memory>,
}

impl Services {
    /// The policy's kept state, if it has the grant.
    pub(crate) fn state_of(&self, spec: &Spec) -> Option<Arc<PolicyState>> {
        spec.grants
            .contains(&Grant::State)
            .then(|| self.states.open(&spec.name))
    }
}
