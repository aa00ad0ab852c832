//! One immutable loaded state of the policy directory. A request keeps the one it began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::load::policy::Policy;
use crate::model::grant::Grant;
use crate::model::ports::{Needs, Skipped};
use crate::model::report::{Denied, Hook, Report};
use crate::model::request::{Command, RequestFacts};
use crate::run::host::Config;
use crate::run::session::{self, Session};
use crate::wasm::services::Services;

/// Whether a policy's decisions count, are only logged, or are not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Edits and verdicts count.
    #[default]
    Enforce,
    /// Runs on a shadow: edits and denials are only logged.
    Audit,
    /// Does not run.
    Off,
}

impl Mode {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Off => "off",
        }
    }
}

/// The current state of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Loaded as it is in the directory.
    Loaded,
    /// The newest files do not load; the last good configuration is in force.
    Stale,
    /// Not loaded yet, for example while its module is being compiled; counts as broken.
    Loading,
    /// Does not load; requests that it would have seen fail closed.
    Broken,
    /// Not loaded because the previous daemon, or a dry run, ended while it ran the module; counts
    /// as broken until an operator releases it.
    Quarantined,
    /// Switched off.
    Off,
}

impl State {
    /// The name that `cnidaria policy list` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Stale => "stale",
            Self::Loading => "loading",
            Self::Broken => "broken",
            Self::Quarantined => "quarantined",
            Self::Off => "off",
        }
    }
}

/// One policy as `cnidaria policy list` shows it.
#[derive(Debug, Clone)]
pub struct PolicyInfo {
    /// Name, which also determines the order.
    pub name: String,
    /// The file that defines the policy.
    pub file: PathBuf,
    /// The current state.
    pub state: State,
    /// Digest of the module, `sha256:…`, if it could be read.
    pub digest: Option<String>,
    /// The hooks that the module has.
    pub hooks: Vec<Hook>,
    /// Enforce, audit or off.
    pub mode: Mode,
    /// Whether STATUS fails without it.
    pub required: bool,
    /// Grants that the module asks for, by import.
    pub asked: Vec<String>,
    /// Grants that the configuration gives.
    pub granted: Vec<String>,
    /// The last failure, of a load or a hook.
    pub last_error: Option<String>,
    /// Number of calls since it was first loaded.
    pub evaluations: u64,
    /// Number of denials.
    pub denials: u64,
    /// Number of failures.
    pub failures: u64,
}

/// One loaded state of the policy directory.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    policies: Vec<Arc<Policy>>,
    services: Arc<Services>,
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
        services: Arc<Services>,
    ) -> Self {
        Self {
            number,
            policies,
            services,
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
        self.policies.is_empty() && self.services.states.is_empty()
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
        if let Some((observer, skipped)) = self.services.observer.as_ref().zip(skipped) {
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
        let services = Arc::clone(&self.services);
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
        &self.services
    }
}
