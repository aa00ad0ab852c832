//! The services of one trial: a clock, a state and a witness of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::config::{Spec, count};
use crate::model::grant::Grant;
use crate::model::ports::{Cluster, Observer};
use crate::model::witness::Witness;
use crate::record::{self, Sink};
use crate::state::{Bond, Quota, States};
use crate::wasm::memory::Memory;
use crate::wasm::services::Services;

/// Memory of all guests of a trial: the most that a policy may be allowed, and room for tables.
const MEMORY: u64 = 2 << 30;

/// What a policy finds around a request.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Answers lookups of namespaces, NADs and the node.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Receives the policy's metrics.
    pub observer: Option<Arc<dyn Observer>>,
    /// Watches each call.
    pub witness: Option<Arc<dyn Witness>>,
    /// Milliseconds since 1970; `None` for the system's time.
    pub clock: Option<Arc<AtomicU64>>,
    /// Takes the requests.
    pub memory: Option<Arc<record::Memory>>,
    /// The state that the policy has kept.
    pub state: BTreeMap<String, StateValue>,
}

/// One value of a policy's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateValue {
    pub value: Vec<u8>,
    /// Container id of the sandbox that it vanishes with.
    pub container_id: Option<String>,
    /// Interface of the attachment that it vanishes with; `None` for the whole sandbox.
    pub if_name: Option<String>,
}

impl Environment {
    /// What takes the requests.
    pub(super) fn sink(&self) -> Option<Arc<dyn Sink>> {
        let memory = self.memory.clone()?;
        Some(memory)
    }

    pub(super) fn services(&self) -> Services {
        Services {
            cluster: match &self.memory {
                Some(_) => Some(Arc::new(record::Noting(self.cluster.clone()))),
                None => self.cluster.clone(),
            },
            observer: self.observer.clone(),
            states: Arc::new(States::default()),
            memory: Arc::new(Memory::new(MEMORY)),
            turns: Arc::default(),
            witness: self.witness.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Sets the state that the policy has kept, within its limits.
    pub(super) fn restore(&self, states: &States, spec: &Spec) {
        if !spec.grants.contains(&Grant::State) {
            return;
        }
        let state = states.open(&spec.name);
        let quota = Quota {
            keys: count(spec.limits.state_keys),
            bytes: count(spec.limits.state_bytes),
        };
        for (key, kept) in &self.state {
            let bond = kept.container_id.as_ref().map(|container_id| Bond {
                container_id: container_id.clone(),
                if_name: kept.if_name.clone(),
            });
            // A value beyond the limits would not have been kept.
            let value = Some(kept.value.clone());
            let _ = state.swap(key, None, value, bond.map(Into::into), quota);
        }
    }
}
