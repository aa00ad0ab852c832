//! One policy of a generation: loaded, or broken with a reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::config::{FailurePolicies, Match, Spec};
use crate::model::description::Description;
use crate::model::grant::Grant;
use crate::model::policy::{LastFailure, LoadState, Mode, PolicyInfo};
use crate::model::report::{Cause, Denied, Hook};
use crate::model::request::RequestFacts;
use crate::pool::{Ahead, Refill};
use crate::wasm::allowance::Allowance;
use crate::wasm::instance::{Failure, Instance};
use crate::wasm::memory::{Account, Reservation};
use crate::wasm::module::Module;
use crate::wasm::services::Services;

/// One policy of a generation.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Determines the policy's order as well.
    pub(crate) name: Arc<str>,
    /// The `.wasm` or `.json` file that defines the policy.
    pub(crate) file: PathBuf,
    /// The operator's configuration, if readable.
    pub(crate) spec: Option<Arc<Spec>>,
    /// Required by the daemon's configuration, even if the policy's own is unreadable.
    required: bool,
    /// Digest of the module, if readable.
    digest: Option<Arc<str>>,
    /// The running module; `None` if the policy is broken or off.
    pub(crate) module: Option<Arc<Module>>,
    /// Grants that the module's imports need, if readable.
    asked: BTreeSet<Grant>,
    /// What the module says of itself.
    description: Option<Arc<Description>>,
    /// Why the policy is not loaded, or is stale.
    trouble: Option<String>,
    /// Not loaded because a daemon ended while it loaded or first called the module.
    quarantined: bool,
    loading: Option<Loading>,
    counts: Arc<Counts>,
    /// How often the policy was loaded before, with other files.
    loads_before: u64,
    /// An instance made ahead for the next request.
    ahead: Arc<Ahead>,
}

/// Why a policy is not loaded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loading {
    /// The daemon is still loading its first policies.
    AtStart,
    /// The policy was added or changed while the daemon ran.
    Later,
}

/// Counters of a policy, shared by all its generations.
#[derive(Debug, Default)]
struct Counts {
    evaluations: AtomicU64,
    denials: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<LastFailure>>,
}

impl Policy {
    /// A policy with a module to call.
    pub(crate) fn loaded(spec: Arc<Spec>, digest: Arc<str>, module: Arc<Module>) -> Self {
        Self {
            digest: Some(digest),
            asked: module.asked.clone(),
            module: Some(module),
            ..Self::off(spec)
        }
    }

    /// A policy in mode `off`.
    pub(crate) fn off(spec: Arc<Spec>) -> Self {
        Self {
            name: Arc::clone(&spec.name),
            file: spec.file.clone(),
            spec: Some(spec),
            required: false,
            digest: None,
            module: None,
            asked: BTreeSet::new(),
            description: None,
            trouble: None,
            quarantined: false,
            loading: None,
            counts: Arc::default(),
            loads_before: 0,
            ahead: Arc::default(),
        }
    }

    /// A policy that does not load. It affects requests only with a [spec](Self::with_spec), or if
    /// it is [required](Self::required).
    pub(crate) fn broken(name: &str, file: &Path, reason: String) -> Self {
        Self {
            name: name.into(),
            file: file.to_owned(),
            spec: None,
            required: false,
            digest: None,
            module: None,
            asked: BTreeSet::new(),
            description: None,
            trouble: Some(reason),
            quarantined: false,
            loading: None,
            counts: Arc::default(),
            loads_before: 0,
            ahead: Arc::default(),
        }
    }

    /// Adds the operator's configuration.
    pub(crate) fn with_spec(self, spec: Arc<Spec>) -> Self {
        Self {
            spec: Some(spec),
            ..self
        }
    }

    /// Marks the policy as required by the daemon's configuration: it sees every request.
    pub(crate) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// Adds the module's digest.
    pub(crate) fn with_digest(self, digest: Arc<str>) -> Self {
        Self {
            digest: Some(digest),
            ..self
        }
    }

    /// Adds the grants that the module asks for.
    pub(crate) fn asking_for(self, asked: BTreeSet<Grant>) -> Self {
        Self { asked, ..self }
    }

    /// Adds what the module says of itself.
    pub(crate) fn described(self, description: Option<Arc<Description>>) -> Self {
        Self {
            description,
            ..self
        }
    }

    /// Marks the policy's module as quarantined.
    pub(crate) fn quarantined(self) -> Self {
        Self {
            quarantined: true,
            ..self
        }
    }

    /// Marks the policy as still loading.
    pub(crate) fn loading(self, since: Loading) -> Self {
        Self {
            loading: Some(since),
            ..self
        }
    }

    /// Why the policy is not loaded yet; `None` in any state but `Loading`.
    pub(crate) fn is_loading(&self) -> Option<Loading> {
        self.loading.filter(|_| self.state() == LoadState::Loading)
    }

    /// Whether the policy's module is being compiled, even if the last good one runs.
    pub(crate) fn awaits_compiler(&self) -> bool {
        self.loading.is_some()
    }

    /// Whether both policies fail to load, for the same reason.
    pub(crate) fn is_as_broken_as(&self, other: &Self) -> bool {
        self.trouble.is_some()
            && self.trouble == other.trouble
            && self.module.is_none()
            && self.required == other.required
            && self.loading == other.loading
            && self.spec == other.spec
            && self.digest == other.digest
    }

    /// Whether the policy runs with exactly this configuration and module.
    pub(crate) fn is_loaded_from(&self, spec: &Spec, digest: &str) -> bool {
        self.state() == LoadState::Loaded
            && self.digest() == digest
            && self.spec.as_deref() == Some(spec)
    }

    /// This policy, still running although its files no longer load, or do not load yet.
    pub(crate) fn stale(&self, reason: String, loading: Option<Loading>) -> Self {
        Self {
            name: Arc::clone(&self.name),
            file: self.file.clone(),
            spec: self.spec.clone(),
            required: self.required,
            digest: self.digest.clone(),
            module: self.module.clone(),
            asked: self.asked.clone(),
            description: self.description.clone(),
            trouble: Some(reason),
            quarantined: false,
            loading,
            counts: Arc::clone(&self.counts),
            loads_before: self.loads_before,
            ahead: Arc::default(),
        }
    }

    /// This policy in audit mode, which its file asks for although another key is wrong.
    pub(crate) fn watching(mut self) -> Self {
        if let Some(spec) = &mut self.spec {
            Arc::make_mut(spec).mode = Mode::Audit;
        }
        self
    }

    /// Whether the configuration asks for audit mode.
    pub(crate) fn is_only_watching(&self) -> bool {
        self.spec.is_some() && self.mode() == Mode::Audit
    }

    /// Continues the counters of the previous generation.
    pub(crate) fn counting_on(mut self, before: &Self) -> Self {
        self.counts = Arc::clone(&before.counts);
        self.loads_before = before.loads_before + 1;
        self
    }

    /// Why the policy is not loaded; `None` if it runs or is off.
    pub(crate) fn broken_reason(&self) -> Option<&str> {
        let broken = matches!(
            self.state(),
            LoadState::Broken | LoadState::Quarantined | LoadState::Loading
        );
        self.trouble.as_deref().filter(|_| broken)
    }

    /// What is wrong with the policy; empty if nothing is.
    pub(crate) fn trouble(&self) -> &str {
        self.trouble.as_deref().unwrap_or_default()
    }

    pub(crate) fn state(&self) -> LoadState {
        match (&self.module, &self.trouble) {
            (Some(_), None) => LoadState::Loaded,
            (Some(_), Some(_)) => LoadState::Stale,
            (None, Some(_)) if self.mode() == Mode::Off => LoadState::Off,
            (None, Some(_)) if self.quarantined => LoadState::Quarantined,
            (None, Some(_)) if self.loading.is_some() => LoadState::Loading,
            (None, Some(_)) => LoadState::Broken,
            (None, None) => LoadState::Off,
        }
    }

    /// Digest of the module, shared.
    pub(crate) fn shared_digest(&self) -> Arc<str> {
        self.digest.clone().unwrap_or_default()
    }

    /// Digest of the module; empty if it could not be read.
    pub(crate) fn digest(&self) -> &str {
        self.digest.as_deref().unwrap_or_default()
    }

    /// Whether the policy affects requests: it is loaded, or fails them because it is not.
    pub(crate) fn runs(&self) -> bool {
        self.state() != LoadState::Off
    }

    /// Whether STATUS and ADDs fail without it, by the daemon's configuration or the policy's own.
    pub(crate) fn is_required(&self) -> bool {
        self.required || self.spec.as_ref().is_some_and(|spec| spec.required)
    }

    /// The mode; the strictest one if the configuration is unreadable.
    pub(crate) fn mode(&self) -> Mode {
        self.spec.as_ref().map_or(Mode::Enforce, |spec| spec.mode)
    }

    fn failure_policies(&self) -> FailurePolicies {
        self.spec
            .as_ref()
            .map_or_else(FailurePolicies::default, |spec| spec.failure)
    }

    fn matching(&self) -> Option<&Match> {
        self.spec.as_ref().map(|spec| &spec.matching)
    }

    /// Whether the policy sees the request, and the network if given. Without a readable match, a
    /// required policy sees everything and any other nothing.
    pub(crate) fn sees(&self, facts: &RequestFacts, network: Option<&str>) -> bool {
        match self.matching() {
            None => self.required,
            Some(matching) => {
                matching.request(facts) && network.is_none_or(|network| matching.network(network))
            }
        }
    }

    /// Whether the policy matches on networks, so that matching has to wait until they are known.
    pub(crate) fn names_networks(&self) -> bool {
        self.matching().is_some_and(Match::names_networks)
    }

    /// Whether the module exports the hook.
    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.module
            .as_ref()
            .is_some_and(|module| module.hooks.has(hook))
    }

    /// Whether its before-add hook sees the whole plan.
    pub(crate) fn sees_plan(&self) -> bool {
        self.module
            .as_ref()
            .is_some_and(|module| module.hooks.sees_plan())
    }

    /// Whether a failure of this class denies the request.
    pub(crate) fn is_closed(&self, cause: Cause) -> bool {
        (cause == Cause::Load && self.is_required()) || self.failure_policies().closed(cause)
    }

    /// The instance made ahead of a request, if any, and the time that making it took.
    pub(crate) fn made_ahead(
        &self,
        facts: &Arc<RequestFacts>,
        account: &Arc<Account>,
    ) -> Option<(Instance, Duration)> {
        let mut instance = self.ahead.take()?;
        let made_in = instance.serve(Arc::clone(facts), account);
        Some((instance, made_in))
    }

    /// Makes a new instance for a request.
    ///
    /// # Errors
    /// [`Failure`] if the instance cannot be made, or the policy has no module.
    pub(crate) async fn instance(
        &self,
        facts: &Arc<RequestFacts>,
        services: &Arc<Services>,
        budget: (Reservation, Allowance),
    ) -> Result<Instance, Failure> {
        let (Some(module), Some(spec)) = (&self.module, &self.spec) else {
            return Err(Failure {
                cause: Cause::Load,
                reason: "not loaded".to_owned(),
            });
        };
        let (module, spec) = (Arc::clone(module), Arc::clone(spec));
        Instance::new(
            module,
            spec,
            Arc::clone(facts),
            Arc::clone(services),
            budget,
        )
        .await
    }

    /// The instance to make ahead for the next request; `None` if the policy has no module.
    pub(crate) fn refill(&self) -> Option<Refill> {
        Some(Refill {
            ahead: Arc::clone(&self.ahead),
            module: self.module.clone()?,
            spec: self.spec.clone()?,
        })
    }

    /// Counts one call.
    pub(crate) fn evaluated(&self) {
        self.counts.evaluations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one denial.
    pub(crate) fn denied(&self) {
        self.counts.denials.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one failure.
    pub(crate) fn failed(&self, hook: Hook, failure: &Failure) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        let last = LastFailure {
            error: format!("{} in hook {hook}: {}", failure.cause, failure.reason),
            at_unix_seconds: unix_seconds(),
            load: self.load_number(),
            digest: self.digest.as_deref().map(str::to_owned),
        };
        *self.counts.last_failure.lock() = Some(last);
    }

    /// Builds a denial in this policy's name.
    pub(crate) fn deny(&self, hook: Hook, cause: Cause, message: String) -> Denied {
        Denied {
            policy: self.name.to_string(),
            hook,
            code: Denied::FIRST_CODE,
            message,
            details: None,
            cause,
            findings: Vec::new(),
        }
    }

    /// How often the policy was loaded: 1 for the first files.
    fn load_number(&self) -> u64 {
        self.loads_before + 1
    }

    /// The policy as `cnidaria policy list` shows it.
    pub(crate) fn info(&self) -> PolicyInfo {
        let spec = self.spec.as_deref();
        let module = self.module.as_deref();
        let last_failure = self.counts.last_failure.lock().clone();
        let last_error = last_failure.as_ref().map(|last| last.error.clone());
        PolicyInfo {
            name: self.name.to_string(),
            file: self.file.clone(),
            state: self.state(),
            digest: self.digest.as_deref().map(str::to_owned),
            hooks: module.map(|module| module.hooks.list()).unwrap_or_default(),
            mode: self.mode(),
            required: self.is_required(),
            asked: names(&self.asked),
            description: self.description.clone(),
            granted: spec.map(|spec| names(&spec.grants)).unwrap_or_default(),
            last_error: self.trouble.clone().or(last_error),
            state_error: None,
            last_failure,
            load: self.load_number(),
            evaluations: self.counts.evaluations.load(Ordering::Relaxed),
            denials: self.counts.denials.load(Ordering::Relaxed),
            failures: self.counts.failures.load(Ordering::Relaxed),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "when a call failed, as it is shown"
)]
fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn names(grants: &BTreeSet<Grant>) -> Vec<String> {
    grants.iter().map(ToString::to_string).collect()
}
