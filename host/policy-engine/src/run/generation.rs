//! One immutable loaded state of the policy directory. A request keeps the one it began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::load::policy::Policy;
use crate::model::grant::Grant;
use crate::model::policy::PolicyInfo;
use crate::model::ports::{Needs, Skipped};
use crate::model::request::RequestFacts;
use crate::model::witness::Witness;
use crate::pool::Pool;
use crate::record::Sink;
use crate::wasm::services::Services;

/// One loaded state of the policy directory.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    policies: Vec<Arc<Policy>>,
    pool: Arc<Pool>,
    exempt_namespaces: Vec<String>,
    bypass_file: Option<PathBuf>,
    request_timeout: Duration,
    /// Bytes and members of all policies' edits in one request, if configured.
    request_edits: (Option<u64>, Option<u64>),
    sink: Option<Arc<dyn Sink>>,
}

impl Generation {
    /// A generation of loaded and broken policies, in order.
    pub(crate) fn new(
        number: u64,
        policies: Vec<Arc<Policy>>,
        config: &Config,
        (pool, sink): (Arc<Pool>, Option<Arc<dyn Sink>>),
    ) -> Self {
        Self {
            number,
            policies,
            pool,
            exempt_namespaces: config.exempt_namespaces.clone(),
            bypass_file: config.bypass_file.clone(),
            request_timeout: config.request_timeout,
            request_edits: (config.request_edit_bytes, config.request_edit_members),
            sink,
        }
    }

    /// Number of this load in the process, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// All policies, in order, for display.
    pub fn policies(&self) -> Vec<PolicyInfo> {
        let states = &self.services().states;
        let infos = self.policies.iter().map(|policy| policy.info());
        infos
            .map(|info| PolicyInfo {
                state_error: states.damage(&info.name),
                ..info
            })
            .collect()
    }

    /// Why none of the policies runs for a request, if so; counts and logs it.
    pub(crate) fn skip(&self, facts: &RequestFacts) -> Option<Skipped> {
        if self.policies.is_empty() {
            return None;
        }
        let exempt = facts
            .pod
            .as_ref()
            .is_some_and(|pod| self.exempt_namespaces.contains(&pod.namespace));
        let bypassed = self.bypass_file.as_ref().filter(|file| file.exists());
        let skipped = match bypassed {
            Some(_) => Some(Skipped::Bypass),
            None => exempt.then_some(Skipped::ExemptNamespace),
        };
        if let Some((observer, skipped)) = self.services().observer.as_ref().zip(skipped) {
            observer.skipped(skipped);
        }
        if let Some(file) = bypassed {
            tracing::warn!(
                target: "cnidaria::policy",
                file = %file.display(),
                command = %facts.command,
                pod = facts.pod.as_ref().map(tracing::field::display),
                "ALL POLICIES ARE BYPASSED while this file exists",
            );
        }
        skipped
    }

    /// The same policies, for one request that is not made.
    pub(crate) fn rehearsing(&self, witness: Arc<dyn Witness>) -> Self {
        let services = Arc::new(self.services().rehearsing(witness));
        Self {
            number: self.number,
            policies: self.policies.clone(),
            pool: Arc::new(Pool::rehearsing(services)),
            exempt_namespaces: self.exempt_namespaces.clone(),
            bypass_file: self.bypass_file.clone(),
            request_timeout: self.request_timeout,
            request_edits: self.request_edits,
            sink: None,
        }
    }

    /// What the policies look up beside the request.
    pub fn needs(&self) -> Needs {
        let specs = self.policies.iter().filter(|policy| policy.runs());
        let specs = specs.filter_map(|policy| policy.spec.as_deref());
        let pod_only = Needs {
            pod: !self.policies.is_empty(),
            ..Needs::default()
        };
        specs.fold(pod_only, |needs, spec| Needs {
            namespaces: needs.namespaces
                || spec.matching.names_namespace_labels()
                || spec.grants.contains(&Grant::Namespaces),
            node: needs.node || spec.grants.contains(&Grant::Node),
            attachments: needs.attachments || spec.grants.contains(&Grant::Attachments),
            pod: needs.pod,
        })
    }

    /// The policies, in order.
    pub(crate) fn chain(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// What all policies together may edit in one request, in bytes and members, if configured.
    pub(crate) fn request_edits(&self) -> (Option<u64>, Option<u64>) {
        self.request_edits
    }

    /// The time budget of all policies together in one request.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// The services behind the grants.
    pub(crate) fn services(&self) -> &Arc<Services> {
        self.pool.services()
    }

    /// What records the requests.
    pub(crate) fn sink(&self) -> Option<&Arc<dyn Sink>> {
        self.sink.as_ref()
    }

    /// The pool of instances.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}
