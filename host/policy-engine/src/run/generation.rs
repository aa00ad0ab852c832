//! One immutable loaded state of the policy directory. A request keeps the one it began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::load::policy::Policy;
use crate::model::grant::Grant;
use crate::model::policy::PolicyInfo;
use crate::model::ports::{Needs, Skipped};
use crate::model::report::{Denied, Report};
use crate::model::request::{Command, RequestFacts};
use crate::pool::Pool;
use crate::run::session::{self, Session};
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
}

impl Generation {
    /// A generation of loaded and broken policies, in order.
    pub(crate) fn new(
        number: u64,
        policies: Vec<Arc<Policy>>,
        config: &Config,
        pool: Arc<Pool>,
    ) -> Self {
        Self {
            number,
            policies,
            pool,
            exempt_namespaces: config.exempt_namespaces.clone(),
            bypass_file: config.bypass_file.clone(),
            request_timeout: config.request_timeout,
        }
    }

    /// Number of this load in the process, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// All policies, in order, for display.
    pub fn policies(&self) -> Vec<PolicyInfo> {
        self.policies.iter().map(|policy| policy.info()).collect()
    }

    /// Whether there are no policies at all, not even broken or off, and no state kept by earlier
    /// ones: requests need not begin a session.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.services().states.is_empty()
    }

    /// Begins a request's session. Cheap: policies are instantiated when a hook needs them.
    pub fn begin(self: &Arc<Self>, facts: RequestFacts) -> Session {
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
        Session::new(Arc::clone(self), facts, skipped.is_some())
    }

    /// Asks the policies whether the node is ready. Called on STATUS.
    ///
    /// # Errors
    /// [`Denied`] if a required policy is not loaded, or a policy says the node is not ready.
    pub async fn status(self: &Arc<Self>) -> Result<(), Denied> {
        self.begin(RequestFacts::of_node(Command::Status))
            .status()
            .await
    }

    /// Tells policies which attachments (container id, interface) are in use, on GC; cannot deny.
    pub async fn gc(self: &Arc<Self>, valid: &[(String, String)]) -> Report {
        self.begin(RequestFacts::of_node(Command::Gc))
            .gc(valid)
            .await
    }

    /// Removes the state that policies bound to a sandbox that is gone, and to its attachments.
    pub async fn release(&self, container_id: &str) {
        let container_id = container_id.to_owned();
        let services = Arc::clone(self.services());
        session::with_states(services, move |states| {
            states.release_sandbox(&container_id);
        })
        .await;
    }

    /// What the policies look up beside the request.
    pub fn needs(&self) -> Needs {
        let specs = self.policies.iter().filter(|policy| policy.runs());
        let specs = specs.filter_map(|policy| policy.spec.as_deref());
        specs.fold(Needs::default(), |needs, spec| Needs {
            namespaces: needs.namespaces
                || spec.matching.names_namespace_labels()
                || spec.grants.contains(&Grant::Namespaces),
            node: needs.node || spec.grants.contains(&Grant::Node),
        })
    }

    /// The policies, in order.
    pub(crate) fn chain(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// The time budget of all policies together in one request.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// The services behind the grants.
    pub(crate) fn services(&self) -> &Arc<Services> {
        self.pool.services()
    }

    /// The pool of instances.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}
