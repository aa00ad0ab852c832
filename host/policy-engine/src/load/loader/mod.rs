//! Loads policies from files: read, verify, compile or fetch from the cache, link, configure.

mod announce;
mod described;
mod dry_run;
mod engines;
mod error;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config, FoundPolicy, Reading, Spec};
use crate::load::artifact::{Cache, Compiler};
use crate::load::digest;
use crate::load::last_good::{LastGood, Record};
use crate::load::policy::{Loading, Policy};
use crate::load::quarantine::Quarantine;
use crate::model::policy::Mode;
use crate::model::report::{Hook, clean};
use crate::model::request::{Command, RequestFacts};
use crate::wasm::allowance::Allowance;
use crate::wasm::engine::Engines;
use crate::wasm::instance::Instance;
use crate::wasm::module::Module;
use crate::wasm::services::Services;
use crate::wasm::trials::Trials;
use error::Error;

/// Maximum bytes of the reason why a policy does not load.
const MAX_REASON: usize = 4096;
/// Maximum number of a configuration's faults that the reason names.
const MAX_FAULTS: usize = 8;

/// Loads policies, with the engines they run on and the artefacts on disk.
#[derive(Debug)]
pub(crate) struct Loader {
    config: Config,
    services: Arc<Services>,
    cache: Cache,
    last_good: LastGood,
    quarantine: Arc<Quarantine>,
    /// Engines for each [kind](crate::wasm::engine::kind) of policies. Created for the first policy
    /// that needs them, so that a node without policies has neither engine nor ticker.
    engines: BTreeMap<(u64, bool), Engines>,
    /// Digests of the modules' files, for one load: many policies can name one module.
    digests: BTreeMap<PathBuf, Arc<str>>,
    /// Every policy was loaded once, or is known not to load.
    started: bool,
}

impl Loader {
    /// A loader for the directories of `config`.
    pub(crate) fn new(config: Config, services: Arc<Services>) -> Self {
        let cache = Cache::new(config.cache_dir.clone(), Compiler::of(&config));
        let last_good = LastGood::new(config.kept_dir.clone());
        let quarantine = Quarantine::new(config.quarantine_dir.clone());
        quarantine.settle();
        Self {
            quarantine: Arc::new(quarantine),
            config,
            services,
            cache,
            last_good,
            engines: BTreeMap::new(),
            digests: BTreeMap::new(),
            started: false,
        }
    }

    /// Allows retrying a quarantined or failed module. Returns whether it was either.
    ///
    /// # Errors
    /// File system errors.
    pub(crate) fn release(&self, digest: &str) -> std::io::Result<bool> {
        let is_compiled_again = self.cache.forget(digest);
        Ok(self.quarantine.release(digest)? || is_compiled_again)
    }

    /// Allows retrying modules whose compilation failed for a possibly temporary reason.
    pub(crate) fn retry(&self) {
        self.cache.retry();
    }

    /// Whether modules are being compiled; load their policies again afterwards.
    pub(crate) fn is_compiling(&self) -> bool {
        self.cache.is_compiling()
    }

    /// Notifies when compilations end.
    pub(crate) fn compiled(&self) -> tokio::sync::watch::Receiver<u64> {
        self.cache.compiled()
    }

    /// Loads all policies. Unchanged ones are shared with `before`.
    pub(crate) async fn load(&mut self, before: &[Arc<Policy>]) -> Vec<Arc<Policy>> {
        let Config {
            module_dir,
            config_dir,
            ..
        } = &self.config;
        let found = match config::scan(module_dir, config_dir.as_deref()) {
            Ok(found) => found,
            Err(error) => {
                let dir = module_dir.clone();
                let mut policies = self.unreadable(&dir, before, &chain(&error)).await;
                self.add_missing(before, &mut policies);
                return policies;
            }
        };
        let names: BTreeSet<&str> = found.iter().map(|found| &*found.name).collect();
        self.last_good.retain(|name| names.contains(name));
        let known: BTreeMap<&str, _> = before
            .iter()
            .map(|policy| (&*policy.name, policy))
            .collect();
        let mut policies = Vec::with_capacity(found.len());
        self.digests.clear();
        for found in found {
            let former = known.get(&*found.name).copied();
            policies.push(self.policy(found, former).await);
        }
        self.digests.clear();
        self.add_missing(before, &mut policies);
        self.started |= !self.cache.is_compiling();
        self.sweep(&policies);
        self.drop_engines(&policies);
        policies
    }

    fn since(&self) -> Loading {
        match self.started {
            true => Loading::Later,
            false => Loading::AtStart,
        }
    }

    /// Adds a broken policy for each required one that is missing or off.
    fn add_missing(&self, before: &[Arc<Policy>], policies: &mut Vec<Arc<Policy>>) {
        for name in &self.config.required {
            let found = policies.iter().position(|policy| *policy.name == **name);
            let reason = match found.and_then(|index| policies.get(index)) {
                None => "has no file here, but the daemon's configuration requires it",
                Some(policy) if !policy.runs() => {
                    "is off, but the daemon's configuration requires it"
                }
                Some(_) => continue,
            };
            if let Some(index) = found {
                policies.remove(index);
            }
            let missing =
                Policy::broken(name, &self.config.module_dir, reason.to_owned()).required();
            let former = before.iter().find(|policy| *policy.name == **name);
            let unchanged = former.filter(|former| former.is_as_broken_as(&missing));
            policies.push(match unchanged {
                Some(former) => Arc::clone(former),
                None => broken(None, missing),
            });
        }
        policies.sort_by(|a, b| a.name.cmp(&b.name));
    }

    async fn policy(&mut self, found: FoundPolicy, former: Option<&Arc<Policy>>) -> Arc<Policy> {
        let FoundPolicy {
            name,
            file,
            reading,
        } = found;
        let required = self.config.required.contains(&name);
        let (mut spec, text, faults) = match reading {
            Reading::Good(spec, text) => (spec, text, Vec::new()),
            Reading::Faulty(spec, text, faults) => (spec, text, faults),
            Reading::Unreadable(faults) => {
                let policy = Policy::broken(&name, &file, all(&faults));
                let policy = if required { policy.required() } else { policy };
                if let Some(off) = self.last_off(&name, former) {
                    return switched_off(former, policy.with_spec(off));
                }
                return self.broken(former, policy).await;
            }
        };
        spec.required |= required;
        let spec = Arc::new(spec);
        if !faults.is_empty() {
            let policy = Policy::broken(&name, &file, all(&faults)).with_spec(Arc::clone(&spec));
            return match spec.mode {
                Mode::Off => {
                    // Recorded as off, so that a torn file cannot restore an earlier configuration.
                    self.store(&spec, text, None);
                    switched_off(former, policy)
                }
                Mode::Enforce | Mode::Audit => self.broken(former, policy).await,
            };
        }
        if spec.mode == Mode::Off {
            self.store(&spec, text, None);
            return Arc::new(Policy::off(spec));
        }
        let digest = match self.digest_of(&spec) {
            Ok(digest) => digest,
            Err(error) => {
                let policy = Policy::broken(&name, &file, chain(&error)).with_spec(spec);
                return self.broken(former, policy).await;
            }
        };
        if let Some(former) = former.filter(|former| former.is_loaded_from(&spec, &digest)) {
            return Arc::clone(former);
        }
        match self.described(&spec, &digest, text.as_deref()).await {
            Ok((module, description)) => {
                tracing::info!(
                    target: "cnidaria::policy",
                    policy = name, file = %file.display(), digest = &*digest,
                    hooks = ?module.hooks, mode = spec.mode.as_str(), "loaded a policy",
                );
                self.store(&spec, text, Some(&digest));
                let policy = Policy::loaded(spec, digest, module).described(description);
                Arc::new(match former {
                    Some(former) => policy.counting_on(former),
                    None => policy,
                })
            }
            Err(error) => {
                let policy = Policy::broken(&name, &file, chain(&error));
                let policy = policy.asking_for(error.asked());
                let policy = policy.with_spec(spec).with_digest(digest);
                let policy = match error {
                    Error::Quarantined { .. } => policy.quarantined(),
                    _ if error.is_compiling() => policy.loading(self.since()),
                    _ => policy,
                };
                self.broken(former, policy).await
            }
        }
    }

    fn digest_of(&mut self, spec: &Spec) -> Result<Arc<str>, Error> {
        if let Some(digest) = self.digests.get(&spec.module) {
            return Ok(Arc::clone(digest));
        }
        let failed = |source| Error::Read {
            path: spec.module.clone(),
            source,
        };
        let digest: Arc<str> = digest::of_file(&spec.module).map_err(failed)?.into();
        self.digests
            .insert(spec.module.clone(), Arc::clone(&digest));
        Ok(digest)
    }

    fn store(&self, spec: &Spec, config: Option<String>, digest: Option<&str>) {
        let record = Record {
            file: spec.file.clone(),
            config,
            digest: digest.map(str::to_owned),
        };
        self.last_good.store(&spec.name, &record);
    }

    /// The last configuration if that was off: an unreadable file does not switch a policy on.
    fn last_off(&self, name: &str, former: Option<&Arc<Policy>>) -> Option<Arc<Spec>> {
        if let Some(former) = former {
            let spec = former.spec.as_ref()?;
            return (spec.mode == Mode::Off).then(|| Arc::clone(spec));
        }
        let record = self.last_good.get(name)?;
        let (text, dir) = (record.config.as_deref()?, &self.config.module_dir);
        let spec = config::off(name, &record.file, text, dir)?;
        record.digest.is_none().then(|| Arc::new(spec))
    }

    /// Replaces a policy that does not load by its last good version, even an earlier daemon's.
    async fn broken(&mut self, former: Option<&Arc<Policy>>, policy: Policy) -> Arc<Policy> {
        match former {
            Some(_) => broken(former, policy),
            None => {
                let restored = self.restored(&policy.name).await.map(Arc::new);
                broken(restored.as_ref(), policy)
            }
        }
    }

    /// The policy as an earlier daemon last loaded it. Its module must be in the cache, or
    /// unchanged in its file.
    async fn restored(&mut self, name: &str) -> Option<Policy> {
        let record = self.last_good.get(name)?;
        let (text, dir) = (record.config.as_deref(), &self.config.module_dir);
        let mut spec = config::restored(name, &record.file, text, dir)?;
        spec.required |= self.config.required.iter().any(|known| known == name);
        let spec = Arc::new(spec);
        let digest = record.digest?;
        match self.module(&spec, &digest).await {
            Ok(module) => Some(Policy::loaded(spec, digest.into(), module)),
            Err(error) if error.is_compiling() => None,
            Err(error) => {
                tracing::error!(
                    target: "cnidaria::policy",
                    policy = name, reason = chain(&error), "the policy's last good configuration does not load either",
                );
                None
            }
        }
    }

    /// The policies when a directory cannot be listed: the last good ones or, if none are known,
    /// one that fails every request, because it is unknown whom the policies apply to.
    async fn unreadable(
        &mut self,
        dir: &Path,
        before: &[Arc<Policy>],
        reason: &str,
    ) -> Vec<Arc<Policy>> {
        tracing::error!(target: "cnidaria::policy", reason, "cannot list a directory of policies; the last good policies stay in force");
        let mut policies = Vec::new();
        for policy in before {
            policies.push(Arc::new(policy.stale(reason.to_owned(), None)));
        }
        if before.is_empty() {
            for name in self.last_good.names() {
                if let Some(policy) = self.restored(&name).await {
                    policies.push(Arc::new(policy.stale(reason.to_owned(), None)));
                }
            }
        }
        if policies.is_empty() {
            let unknown = Policy::broken("policies", dir, reason.to_owned());
            policies.push(Arc::new(unknown.required()));
        }
        policies
    }

    async fn module(&mut self, spec: &Arc<Spec>, digest: &str) -> Result<Arc<Module>, Error> {
        let path = || spec.module.clone();
        if let Some(expected) = spec.digest.as_ref().filter(|expected| *expected != digest) {
            return Err(Error::Digest {
                file: spec.file.clone(),
                path: path(),
                expected: expected.clone(),
                actual: digest.to_owned(),
            });
        }
        if let Some(file) = self.config.bypassed() {
            let file = file.to_owned();
            return Err(Error::Bypassed { file });
        }
        if let Some(mark) = self.quarantine.holds(digest) {
            return Err(Error::Quarantined {
                path: path(),
                hook: mark.hook,
                dry_run: mark.dry_run,
                policy: spec.name.to_string(),
            });
        }
        let trials = Arc::new(Trials::new(self.quarantine.clone(), digest, &spec.name));
        let engines = self.engines(spec)?;
        let (component, footprint) = self
            .cache
            .component(&engines, &spec.module, digest, &trials)
            .map_err(|source| Error::Artifact {
                path: path(),
                source,
            })?;
        let _mark = trials.begin(Hook::Configure);
        let parts = (&component, footprint);
        let module = Module::link(&engines, parts, &spec.grants, &trials).map_err(|source| {
            Error::Module {
                path: path(),
                source,
            }
        })?;
        let (most, limit) = (module.most(&spec.limits), self.services.memory.limit());
        if most > limit {
            let file = spec.file.clone();
            return Err(Error::Memory { file, most, limit });
        }
        self.dry_run(spec, digest)?;
        let module = Arc::new(module);
        self.configure(spec, &module).await?;
        trials.returned(Hook::Configure);
        Ok(module)
    }

    /// Offers the settings to an instance that is then dropped.
    async fn configure(&self, spec: &Arc<Spec>, module: &Arc<Module>) -> Result<(), Error> {
        let path = || spec.module.clone();
        let failed = |failure| Error::Failed {
            path: path(),
            failure,
        };
        // Placeholders: configure runs outside of requests and cannot see these facts.
        let facts = Arc::new(RequestFacts::of_node(Command::Status));
        let (module, services) = (Arc::clone(module), Arc::clone(&self.services));
        let account = services.memory.account("");
        let reservation = account.reserve(&spec.name, module.most(&spec.limits)).await;
        let budget = (reservation, Allowance::of_call(&spec.limits));
        let mut instance = Instance::new(module, Arc::clone(spec), facts, services, budget)
            .await
            .map_err(failed)?;
        instance.load_hooks().map_err(|source| Error::Hooks {
            path: path(),
            source,
        })?;
        let answer = instance.configure(&spec.settings).await.map_err(failed)?;
        answer.map_err(|reason| Error::Settings {
            file: spec.file.clone(),
            reason,
        })
    }
}

/// A policy that its configuration switches off although other keys are wrong.
fn switched_off(former: Option<&Arc<Policy>>, policy: Policy) -> Arc<Policy> {
    if let Some(former) = former.filter(|former| former.is_as_broken_as(&policy)) {
        return Arc::clone(former);
    }
    tracing::error!(
        target: "cnidaria::policy",
        policy = &*policy.name, file = %policy.file.display(), reason = policy.trouble(),
        "the policy is off, and its configuration is wrong",
    );
    Arc::new(policy)
}

/// Like [`Loader::broken`], with the last good policy given.
fn broken(former: Option<&Arc<Policy>>, policy: Policy) -> Arc<Policy> {
    if let Some(former) = former.filter(|former| former.is_as_broken_as(&policy)) {
        return Arc::clone(former);
    }
    let good = former.filter(|former| former.module.is_some());
    let reason = policy.broken_reason().unwrap_or_default();
    if policy.is_loading().is_some() {
        tracing::info!(
            target: "cnidaria::policy",
            policy = &*policy.name, file = %policy.file.display(), reason,
            last_good_stays = good.is_some(), "the policy is not loaded yet",
        );
        return Arc::new(match good {
            Some(good) => good.stale(reason.to_owned(), policy.is_loading()),
            None => policy,
        });
    }
    tracing::error!(
        target: "cnidaria::policy",
        policy = &*policy.name, file = %policy.file.display(), reason,
        last_good_stays = good.is_some(), "the policy does not load",
    );
    Arc::new(match good {
        Some(good) if policy.is_only_watching() => good.stale(reason.to_owned(), None).watching(),
        Some(good) => good.stale(reason.to_owned(), None),
        None => policy,
    })
}

/// The faults of a configuration, on one line.
fn all(faults: &[config::Error]) -> String {
    let each: Vec<String> = faults
        .iter()
        .take(MAX_FAULTS)
        .map(|fault| chain(fault))
        .collect();
    let mut text = each.join("; ");
    if let Some(more) = faults
        .len()
        .checked_sub(MAX_FAULTS)
        .filter(|more| *more > 0)
    {
        text = format!("{text}; and {more} more");
    }
    clean(&text, MAX_REASON)
}

/// An error and its sources on one line, bounded: errors can contain names of a module's imports
/// and exports, which may be arbitrarily long.
fn chain(error: &dyn std::error::Error) -> String {
    clean(&cni_types::error::chain(error), MAX_REASON)
}
