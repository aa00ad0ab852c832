//! One policy of a generation: loaded, or broken with a reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::allowance::Allowance;
use crate::call::{Failure, Instance};
use crate::config::{FailurePolicies, Grant, Match, Spec};
use crate::generation::{Mode, PolicyInfo, State};
use crate::memory::{Account, Reservation};
use crate::module::Module;
use crate::ready::Ready;
use crate::report::{Cause, Denied, Hook};
use crate::request::RequestFacts;
use crate::services::Services;

/// One policy of a generation.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Name, which also gives the order.
    pub(crate) name: Arc<str>,
    /// The file that made it a policy.
    pub(crate) file: PathBuf,
    /// What the operator wants, where that can be read.
    pub(crate) spec: Option<Arc<Spec>>,
    /// The daemon's configuration requires it, although nothing is known of what the operator wants.
    required: bool,
    /// Digest of the module, where it could be read.
    digest: Option<Arc<str>>,
    /// The module that runs; absent for broken policies and those that are off.
    pub(crate) module: Option<Arc<Module>>,
    /// Grants that the module asks for, where its imports could be read.
    asked: BTreeSet<Grant>,
    /// Why it is not loaded, or not as the files are now.
    trouble: Option<String>,
    /// It is not loaded since its module has ended a daemon.
    quarantined: bool,
    /// It is not loaded yet.
    loading: Option<Loading>,
    counts: Arc<Counts>,
    /// The instance for the next request.
    ready: Arc<Ready>,
}

/// Since when a policy is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loading {
    /// Since the daemon began.
    AtStart,
    /// It came, or changed, while the daemon ran.
    Later,
}

/// What happened to a policy since it was first loaded; shared by its generations.
#[derive(Debug, Default)]
struct Counts {
    evaluations: AtomicU64,
    denials: AtomicU64,
    failures: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Policy {
    /// A policy that runs.
    pub(crate) fn loaded(spec: Arc<Spec>, digest: Arc<str>, module: Arc<Module>) -> Self {
        Self {
            digest: Some(digest),
            asked: module.asked.clone(),
            module: Some(module),
            ..Self::off(spec)
        }
    }

    /// A policy that is switched off.
    pub(crate) fn off(spec: Arc<Spec>) -> Self {
        Self {
            name: Arc::clone(&spec.name),
            file: spec.file.clone(),
            spec: Some(spec),
            required: false,
            digest: None,
            module: None,
            asked: BTreeSet::new(),
            trouble: None,
            quarantined: false,
            loading: None,
            counts: Arc::default(),
            ready: Arc::default(),
        }
    }

    /// A policy that does not load. Without a [spec](Self::with_spec) requests have nothing to do with
    /// it, unless it is [required](Self::required).
    pub(crate) fn broken(name: &str, file: &Path, reason: String) -> Self {
        Self {
            name: name.into(),
            file: file.to_owned(),
            spec: None,
            required: false,
            digest: None,
            module: None,
            asked: BTreeSet::new(),
            trouble: Some(reason),
            quarantined: false,
            loading: None,
            counts: Arc::default(),
            ready: Arc::default(),
        }
    }

    /// The same policy, of which is known what the operator wants.
    pub(crate) fn with_spec(self, spec: Arc<Spec>) -> Self {
        Self {
            spec: Some(spec),
            ..self
        }
    }

    /// The same policy, which the daemon's configuration requires: it sees every request.
    pub(crate) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// The same policy, of whose module the digest is known.
    pub(crate) fn with_digest(self, digest: Arc<str>) -> Self {
        Self {
            digest: Some(digest),
            ..self
        }
    }

    /// The same policy, of whose module is known which grants it asks for.
    pub(crate) fn asking_for(self, asked: BTreeSet<Grant>) -> Self {
        Self { asked, ..self }
    }

    /// The same policy, whose module has ended a daemon.
    pub(crate) fn quarantined(self) -> Self {
        Self {
            quarantined: true,
            ..self
        }
    }

    /// The same policy, which may load in a moment.
    pub(crate) fn loading(self, since: Loading) -> Self {
        Self {
            loading: Some(since),
            ..self
        }
    }

    /// Since when it is loaded, where it is not loaded yet.
    pub(crate) fn is_loading(&self) -> Option<Loading> {
        self.loading.filter(|_| self.state() == State::Loading)
    }

    /// Whether its module is being compiled, also where the last good one runs.
    pub(crate) fn awaits_compiler(&self) -> bool {
        self.loading.is_some()
    }

    /// Whether `other` would be this policy once more: neither loads, for the same reason.
    pub(crate) fn is_as_broken_as(&self, other: &Self) -> bool {
        self.trouble.is_some()
            && self.trouble == other.trouble
            && self.module.is_none()
            && self.required == other.required
            && self.loading == other.loading
            && self.spec == other.spec
            && self.digest == other.digest
    }

    /// Whether it runs as these files have it.
    pub(crate) fn is_loaded_from(&self, spec: &Spec, digest: &str) -> bool {
        self.state() == State::Loaded
            && self.digest() == digest
            && self.spec.as_deref() == Some(spec)
    }

    /// This policy, still running although its files do not load any more, or not yet.
    pub(crate) fn stale(&self, reason: String, loading: Option<Loading>) -> Self {
        Self {
            name: Arc::clone(&self.name),
            file: self.file.clone(),
            spec: self.spec.clone(),
            required: self.required,
            digest: self.digest.clone(),
            module: self.module.clone(),
            asked: self.asked.clone(),
            trouble: Some(reason),
            quarantined: false,
            loading,
            counts: Arc::clone(&self.counts),
            ready: Arc::default(),
        }
    }

    /// This policy in audit mode, which the file asks for in which something else is wrong.
    pub(crate) fn watching(mut self) -> Self {
        if let Some(spec) = &mut self.spec {
            Arc::make_mut(spec).mode = Mode::Audit;
        }
        self
    }

    /// Whether its configuration asks for audit mode.
    pub(crate) fn is_only_watching(&self) -> bool {
        self.spec.is_some() && self.mode() == Mode::Audit
    }

    /// This policy with the counts of the generation before.
    pub(crate) fn counting_on(mut self, before: &Self) -> Self {
        self.counts = Arc::clone(&before.counts);
        self
    }

    /// Why it is not loaded; `None` when it runs or is off.
    pub(crate) fn broken_reason(&self) -> Option<&str> {
        let broken = matches!(
            self.state(),
            State::Broken | State::Quarantined | State::Loading
        );
        self.trouble.as_deref().filter(|_| broken)
    }

    /// What is wrong with it, empty where nothing is.
    pub(crate) fn trouble(&self) -> &str {
        self.trouble.as_deref().unwrap_or_default()
    }

    /// What it is at the moment.
    pub(crate) fn state(&self) -> State {
        match (&self.module, &self.trouble) {
            (Some(_), None) => State::Loaded,
            (Some(_), Some(_)) => State::Stale,
            (None, Some(_)) if self.mode() == Mode::Off => State::Off,
            (None, Some(_)) if self.quarantined => State::Quarantined,
            (None, Some(_)) if self.loading.is_some() => State::Loading,
            (None, Some(_)) => State::Broken,
            (None, None) => State::Off,
        }
    }

    /// Digest of its module, empty where it could not be read.
    pub(crate) fn digest(&self) -> &str {
        self.digest.as_deref().unwrap_or_default()
    }

    /// Whether requests have to do with it: it is loaded, or fails them since it is not.
    pub(crate) fn runs(&self) -> bool {
        self.state() != State::Off
    }

    /// Whether STATUS and ADDs fail without it: only where the daemon's configuration or its own says so.
    pub(crate) fn is_required(&self) -> bool {
        self.required || self.spec.as_ref().is_some_and(|spec| spec.required)
    }

    /// Whether it decides. What cannot be read is taken at its strictest.
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

    /// Whether it sees the request, and the network where there is one. Of what cannot be read is not
    /// known whom it is about: it sees everything where it is required, else nothing.
    pub(crate) fn sees(&self, facts: &RequestFacts, network: Option<&str>) -> bool {
        match self.matching() {
            None => self.required,
            Some(matching) => {
                matching.request(facts) && network.is_none_or(|network| matching.network(network))
            }
        }
    }

    /// Whether it is about some networks only, so that it cannot be judged before they are known.
    pub(crate) fn names_networks(&self) -> bool {
        self.matching().is_some_and(Match::names_networks)
    }

    /// Whether the module has a hook.
    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.module
            .as_ref()
            .is_some_and(|module| module.hooks.has(hook))
    }

    /// Whether a failure of this class denies the request.
    pub(crate) fn is_closed(&self, cause: Cause) -> bool {
        (cause == Cause::Load && self.is_required()) || self.failure_policies().closed(cause)
    }

    /// The instance that was made ahead of a request, where there is one.
    pub(crate) fn made_ahead(
        &self,
        facts: &Arc<RequestFacts>,
        account: &Arc<Account>,
    ) -> Option<Instance> {
        let mut instance = self.ready.take()?;
        instance.serve(Arc::clone(facts), account);
        Some(instance)
    }

    /// A new instance for a request.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be made, or the policy has no module.
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

    /// Makes the instance for the next request.
    pub(crate) async fn prepare(&self, services: &Arc<Services>) {
        if let (Some(module), Some(spec)) = (&self.module, &self.spec) {
            self.ready.refill(module, spec, services).await;
        }
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
        let error = format!("{} in hook {hook}: {}", failure.cause, failure.reason);
        *self
            .counts
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// A denial of this policy.
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

    /// For people.
    pub(crate) fn info(&self) -> PolicyInfo {
        let spec = self.spec.as_deref();
        let module = self.module.as_deref();
        let last_error = self
            .counts
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        PolicyInfo {
            name: self.name.to_string(),
            file: self.file.clone(),
            state: self.state(),
            digest: self.digest.as_deref().map(str::to_owned),
            hooks: module.map(|module| module.hooks.list()).unwrap_or_default(),
            mode: self.mode(),
            required: self.is_required(),
            asked: names(&self.asked),
            granted: spec.map(|spec| names(&spec.grants)).unwrap_or_default(),
            last_error: self.trouble.clone().or(last_error),
            evaluations: self.counts.evaluations.load(Ordering::Relaxed),
            denials: self.counts.denials.load(Ordering::Relaxed),
            failures: self.counts.failures.load(Ordering::Relaxed),
        }
    }
}

fn names(grants: &BTreeSet<Grant>) -> Vec<String> {
    grants.iter().map(ToString::to_string).collect()
}
