//! The services behind the grants of all policies: the daemon's ports and the kept state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Spec;
use crate::model::grant::Grant;
use crate::model::outside;
use crate::model::ports::{Cluster, Observer};
use crate::model::witness::Witness;
use crate::state::{PolicyState, States};
use crate::wasm::memory::Memory;
use crate::wasm::turns::Turns;

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
    /// Which guest runs next.
    pub(crate) turns: Arc<Turns>,
    /// Watches each call.
    pub(crate) witness: Option<Arc<dyn Witness>>,
    /// The time that policies see, in milliseconds since 1970; `None` for the system's.
    pub(crate) clock: Option<Arc<AtomicU64>>,
}

impl Services {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[expect(clippy::disallowed_methods, reason = "policies with the grant read it")]
    pub(crate) fn unix_ms(&self) -> u64 {
        outside::unix_ms(|| {
            if let Some(clock) = &self.clock {
                return clock.load(Ordering::Relaxed);
            }
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Services for a request that is not made: what policies keep is a copy, nothing is counted,
    /// and `witness` watches.
    pub(crate) fn rehearsing(&self, witness: Arc<dyn Witness>) -> Self {
        Self {
            cluster: self.cluster.clone(),
            observer: None,
            states: Arc::new(self.states.snapshot()),
            memory: Arc::clone(&self.memory),
            turns: Arc::clone(&self.turns),
            witness: Some(witness),
            clock: self.clock.clone(),
        }
    }

    /// Reports that a policy called a function that needs a grant.
    pub(crate) fn used(&self, grant: Grant) {
        if let Some(witness) = &self.witness {
            witness.used(grant.as_str());
        }
    }

    /// The policy's kept state, if it has the grant.
    pub(crate) fn state_of(&self, spec: &Spec) -> Option<Arc<PolicyState>> {
        spec.grants
            .contains(&Grant::State)
            .then(|| self.states.open(&spec.name))
    }
}
