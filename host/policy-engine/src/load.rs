//! From files to policies that run: read, verify, compile or fetch from the cache, link, configure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::Engine;

use crate::artifact::{self, Cache};
use crate::call::{Failure, Instance};
use crate::config::{self, Found, Spec};
use crate::digest;
use crate::engine;
use crate::generation::Mode;
use crate::hooks;
use crate::host::Config;
use crate::module::{self, Module};
use crate::policy::Policy;
use crate::request::{Command, RequestFacts};
use crate::services::Services;

/// What loads policies: the engine that they run on, and the artefacts on disk.
#[derive(Debug)]
pub(crate) struct Loader {
    engine: Arc<Engine>,
    cache: Cache,
}

/// Why one policy does not load.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The engine cannot be made on this machine.
    #[error("no engine for WebAssembly on this machine")]
    Engine {
        /// Why.
        source: wasmtime::Error,
    },
    /// The module cannot be read.
    #[error("cannot read the module {path}", path = path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The module is not the one that the configuration names.
    #[error("{file}: digest: expected {expected}, but the module {path} has {actual}", file = file.display(), path = path.display())]
    Digest {
        /// The configuration.
        file: PathBuf,
        /// The module's file.
        path: PathBuf,
        /// What the configuration says.
        expected: String,
        /// What the module has.
        actual: Arc<str>,
    },
    /// There is no machine code of the module.
    #[error("the module {path}", path = path.display())]
    Artifact {
        /// The module's file.
        path: PathBuf,
        /// Why.
        source: artifact::Error,
    },
    /// Imports or exports are wrong.
    #[error("the module {path}", path = path.display())]
    Module {
        /// The module's file.
        path: PathBuf,
        /// Why.
        source: module::Error,
    },
    /// A hook has the wrong type.
    #[error("the module {path}", path = path.display())]
    Hooks {
        /// The module's file.
        path: PathBuf,
        /// Why.
        source: hooks::Error,
    },
    /// The policy failed while it was configured.
    #[error("the module {path} failed while it was configured: {cause}: {reason}", path = path.display(), cause = failure.cause, reason = failure.reason)]
    Failed {
        /// The module's file.
        path: PathBuf,
        /// How.
        failure: Failure,
    },
    /// The policy refuses its settings.
    #[error("{file}: settings: {reason}", file = file.display())]
    Settings {
        /// The configuration.
        file: PathBuf,
        /// What the policy says.
        reason: String,
    },
}

impl Loader {
    /// Loads all policies of the directories. `slot` is filled when there is the first one.
    pub(crate) async fn load(
        slot: &mut Option<Self>,
        config: &Config,
        services: &Arc<Services>,
        before: &[Arc<Policy>],
    ) -> (Option<Arc<Engine>>, Vec<Arc<Policy>>) {
        let found = match config::scan(&config.module_dir, config.config_dir.as_deref()) {
            Ok(found) => found,
            Err(error) => return (engine_of(slot), unreadable(config, before, &chain(&error))),
        };
        let mut policies = Vec::with_capacity(found.len());
        for found in found {
            let former = before.iter().find(|policy| *policy.name == found.name);
            policies.push(Arc::new(
                Self::policy(slot, config, services, found, former).await,
            ));
        }
        (engine_of(slot), policies)
    }

    async fn policy(
        slot: &mut Option<Self>,
        config: &Config,
        services: &Arc<Services>,
        found: Found,
        former: Option<&Arc<Policy>>,
    ) -> Policy {
        let Found { name, file, spec } = found;
        let spec = match spec {
            Ok(spec) => Arc::new(spec),
            Err(error) => return broken(former, &name, &file, None, None, chain(&error)),
        };
        if spec.mode == Mode::Off {
            return Policy::off(spec);
        }
        let mut digest = None;
        match Self::module(slot, config, services, &spec, &mut digest).await {
            Ok(module) => {
                let digest = digest.unwrap_or_default();
                tracing::info!(
                    target: "cnidaria::policy",
                    policy = &*name, file = %file.display(), digest = &*digest,
                    hooks = ?module.hooks, mode = spec.mode.as_str(), "loaded",
                );
                let policy = Policy::loaded(spec, digest, module);
                match former {
                    Some(former) => policy.counting_on(former),
                    None => policy,
                }
            }
            Err(error) => broken(former, &name, &file, Some(spec), digest, chain(&error)),
        }
    }

    async fn module(
        slot: &mut Option<Self>,
        config: &Config,
        services: &Arc<Services>,
        spec: &Arc<Spec>,
        digest: &mut Option<Arc<str>>,
    ) -> Result<Arc<Module>, Error> {
        let path = || spec.module.clone();
        let failed = |source| Error::Read {
            path: path(),
            source,
        };
        let actual: Arc<str> = digest::of_file(&spec.module).map_err(failed)?.into();
        *digest = Some(Arc::clone(&actual));
        if let Some(expected) = spec
            .digest
            .as_ref()
            .filter(|expected| **expected != *actual)
        {
            return Err(Error::Digest {
                file: spec.file.clone(),
                path: path(),
                expected: expected.clone(),
                actual,
            });
        }
        let loader = Self::get(slot, config)?;
        let component = loader
            .cache
            .component(&loader.engine, &spec.module, &actual)
            .await
            .map_err(|source| Error::Artifact {
                path: path(),
                source,
            })?;
        let module = Module::link(&loader.engine, &component, &spec.grants).map_err(|source| {
            Error::Module {
                path: path(),
                source,
            }
        })?;
        let module = Arc::new(module);
        loader.configure(services, spec, &module).await?;
        Ok(module)
    }

    /// Offers the settings to an instance that is dropped afterwards.
    async fn configure(
        &self,
        services: &Arc<Services>,
        spec: &Arc<Spec>,
        module: &Arc<Module>,
    ) -> Result<(), Error> {
        let failed = |failure| Error::Failed {
            path: spec.module.clone(),
            failure,
        };
        // There is no request; nothing of these facts can be seen in configure.
        let facts = Arc::new(RequestFacts::of_node(Command::Status));
        let (module, spec, services) = (Arc::clone(module), Arc::clone(spec), Arc::clone(services));
        let mut instance = Instance::new(&self.engine, module, Arc::clone(&spec), facts, services)
            .await
            .map_err(failed)?;
        instance.check_hooks().map_err(|source| Error::Hooks {
            path: spec.module.clone(),
            source,
        })?;
        let answer = instance.configure(&spec.settings).await.map_err(failed)?;
        answer.map_err(|reason| Error::Settings {
            file: spec.file.clone(),
            reason,
        })
    }

    fn get<'a>(slot: &'a mut Option<Self>, config: &Config) -> Result<&'a Self, Error> {
        let loader = match slot.take() {
            Some(loader) => loader,
            None => Self {
                engine: engine::ticking().map_err(|source| Error::Engine { source })?,
                cache: Cache::new(config.cache_dir.clone(), config.compiler.clone()),
            },
        };
        Ok(slot.insert(loader))
    }
}

fn engine_of(slot: &Option<Loader>) -> Option<Arc<Engine>> {
    slot.as_ref().map(|loader| Arc::clone(&loader.engine))
}

/// A policy that does not load: the last good one goes on where there is one.
fn broken(
    former: Option<&Arc<Policy>>,
    name: &str,
    file: &Path,
    spec: Option<Arc<Spec>>,
    digest: Option<Arc<str>>,
    reason: String,
) -> Policy {
    let good = former.filter(|former| former.module.is_some());
    tracing::error!(
        target: "cnidaria::policy",
        policy = name, file = %file.display(), reason, last_good_stays = good.is_some(),
        "does not load",
    );
    match good {
        Some(good) => good.stale(reason),
        None => Policy::broken(name, file, spec, digest, reason),
    }
}

/// All policies when a directory cannot be listed: the last good ones, or one that stands for what
/// may be there.
fn unreadable(config: &Config, before: &[Arc<Policy>], reason: &str) -> Vec<Arc<Policy>> {
    tracing::error!(target: "cnidaria::policy", reason, "cannot read the policies");
    if before.is_empty() {
        let all = Policy::broken(
            "policies",
            &config.module_dir,
            None,
            None,
            reason.to_owned(),
        );
        return vec![Arc::new(all)];
    }
    before
        .iter()
        .map(|policy| Arc::new(policy.stale(reason.to_owned())))
        .collect()
}

/// An error and its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
