//! The policies of a node over time: loads them and holds the current generation.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::artifact::{self, Compiler};
use crate::generation::Generation;
use crate::leftovers::Leftovers;
use crate::load::Loader;
use crate::memory::Memory;
use crate::policy::Policy;
use crate::ports::{Cluster, Observer};
use crate::services::Services;
use crate::state::States;
use crate::watch::Watch;

/// How often it is looked whether the bypass file is still there: what is above it may be a directory in
/// which much goes on.
const BYPASS_LOOK: Duration = Duration::from_millis(200);

/// Wall clock of all policies together in one request, by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of memory of all guests together, by default.
const GUEST_MEMORY: u64 = 256 << 20;

/// Wall clock of one compilation, by default.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of memory of one compilation, by default, and at least.
const COMPILE_MEMORY: u64 = 1 << 30;
const LEAST_COMPILE_MEMORY: u64 = 128 << 20;

/// Bytes that the daemon needs beside its guests, in a control group that has a limit.
const OWN_MEMORY: u64 = 64 << 20;

/// How long a start waits for policies. One that is compiled already takes milliseconds, and a small one a second
/// to compile; what takes longer is not loaded yet when the daemon serves.
const START: Duration = Duration::from_secs(2);

/// Where policies are and what may load them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Directory of modules, and of configurations beside them.
    pub module_dir: PathBuf,
    /// Second directory of configurations (a mounted ConfigMap).
    pub config_dir: Option<PathBuf>,
    /// Directory of compiled artefacts; made with mode 0700 where it is missing.
    pub cache_dir: PathBuf,
    /// The `cnidaria` binary, which compiles modules in a child process.
    pub compiler: PathBuf,
    /// Namespaces whose pods no policy sees.
    pub exempt_namespaces: Vec<String>,
    /// While this file exists no policy runs.
    pub bypass_file: Option<PathBuf>,
    /// Wall clock of all policies together in one request.
    pub request_timeout: Duration,
    /// Bytes of memory of all guests together, in which requests wait.
    pub guest_memory_bytes: u64,
    /// Wall clock of one compilation. A module that needs longer is not tried again.
    pub compile_timeout: Duration,
    /// Bytes of memory of one compilation; less where it has no control group of its own, and the daemon's
    /// has a limit.
    pub compile_memory_bytes: u64,
    /// A control group of version 2, in which each compilation gets one of its own.
    pub compile_cgroup: Option<PathBuf>,
    /// Names of policies that must be there and loaded: without one, STATUS fails and ADDs do, also
    /// when its files are gone.
    pub required: Vec<String>,
    /// Directory of what policies with the grant `state` keep; in memory alone where there is none.
    pub state_dir: Option<PathBuf>,
    /// Directory of the last good configuration of each policy, made with mode 0700 where it is missing;
    /// where there is none, a policy whose file is damaged when the host starts has nothing to fall back to.
    pub kept_dir: Option<PathBuf>,
    /// Directory of the modules that ended a daemon and are not loaded again, made with mode 0700 where it
    /// is missing; where there is none, such a module is loaded by the next daemon.
    pub quarantine_dir: Option<PathBuf>,
    /// Where policies with the grants `namespaces`, `nads` and `node` look things up; nothing is
    /// known where there is none.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Who counts what policies do.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Config {
    /// A configuration with nothing exempt and no second directory.
    pub fn new(
        module_dir: impl Into<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        compiler: impl Into<PathBuf>,
    ) -> Self {
        Self {
            module_dir: module_dir.into(),
            config_dir: None,
            cache_dir: cache_dir.into(),
            compiler: compiler.into(),
            exempt_namespaces: Vec::new(),
            bypass_file: None,
            request_timeout: REQUEST_TIMEOUT,
            guest_memory_bytes: GUEST_MEMORY,
            compile_timeout: COMPILE_TIMEOUT,
            compile_memory_bytes: COMPILE_MEMORY,
            compile_cgroup: None,
            required: Vec::new(),
            state_dir: None,
            kept_dir: None,
            quarantine_dir: None,
            cluster: None,
            observer: None,
        }
    }
}

impl Config {
    /// The bypass file, while it exists.
    pub(crate) fn bypassed(&self) -> Option<&Path> {
        self.bypass_file.as_deref().filter(|file| file.exists())
    }

    /// What compiles modules.
    pub(crate) fn compiler(&self) -> Compiler {
        let mut memory = self.compile_memory_bytes;
        if self.compile_cgroup.is_none()
            && let Some(limit) = artifact::own_limit()
        {
            let beside = self.guest_memory_bytes.saturating_add(OWN_MEMORY);
            let left = limit.saturating_sub(beside).max(LEAST_COMPILE_MEMORY);
            if left < memory {
                tracing::info!(
                    target: "cnidaria::policy",
                    bytes = left, limit, "memory of one compilation, in the control group of the daemon",
                );
                memory = left;
            }
        }
        Compiler {
            binary: self.compiler.clone(),
            timeout: self.compile_timeout,
            memory,
            cgroup: self.compile_cgroup.clone(),
        }
    }
}

/// Loads policies and holds the current generation of them.
#[derive(Debug)]
pub struct PolicyHost {
    config: Config,
    services: Arc<Services>,
    /// Held during a load, so that there is one load at a time.
    loader: tokio::sync::Mutex<Loader>,
    generations: AtomicU64,
    current: ArcSwap<Generation>,
}

impl PolicyHost {
    /// Loads all policies, and waits for those that are to be compiled. On a tokio runtime with time and
    /// processes.
    ///
    /// Never fails as a whole: a policy that does not load is kept as a broken one, with file and
    /// reason, and ADDs that it would have seen fail closed.
    pub async fn load(config: Config) -> Self {
        let host = Self::of(config);
        host.reload().await;
        host
    }

    /// As [`load`](Self::load), and waits two seconds at most: what takes longer is loaded by
    /// [`watch`](Self::watch) or [`take_compiled`](Self::take_compiled). Until then it counts as not loaded, and
    /// ADDs that it would have seen are to come again later.
    pub async fn start(config: Config) -> Arc<Self> {
        let host = Arc::new(Self::of(config));
        let policies = host.loader.lock().await.announce();
        let services = Arc::clone(&host.services);
        let announced = Generation::new(0, policies, &host.config, services);
        host.current.store(Arc::new(announced));
        let first = Arc::clone(&host);
        // Goes on when nothing waits for it any more.
        let first = tokio::spawn(async move { first.reload_aside(true).await });
        let _ = tokio::time::timeout(START, host.begin(first)).await;
        host
    }

    /// Waits for the first load, and for what it has compiled.
    async fn begin(self: &Arc<Self>, first: JoinHandle<()>) {
        // A panic is in the log.
        let _ = first.await;
        let mut compiled = self.loader.lock().await.compiled();
        loop {
            compiled.borrow_and_update();
            self.reload_aside(false).await;
            if !self.loader.lock().await.is_compiling() || compiled.changed().await.is_err() {
                return;
            }
        }
    }

    /// A host without any policy, for a daemon that has none configured.
    pub fn empty() -> Self {
        Self::of(Config::new(PathBuf::new(), PathBuf::new(), PathBuf::new()))
    }

    fn of(config: Config) -> Self {
        if !config.exempt_namespaces.is_empty() {
            tracing::warn!(
                target: "cnidaria::policy",
                namespaces = ?config.exempt_namespaces,
                "no policy sees the pods of these namespaces",
            );
        }
        let services = Arc::new(Services {
            cluster: config.cluster.clone(),
            observer: config.observer.clone(),
            states: States::new(config.state_dir.clone()),
            memory: Arc::new(Memory::new(config.guest_memory_bytes)),
            leftovers: Leftovers::default(),
        });
        let loader = Loader::new(config.clone(), Arc::clone(&services));
        let nothing = Generation::new(0, Vec::new(), &config, Arc::clone(&services));
        Self {
            config,
            services,
            loader: tokio::sync::Mutex::new(loader),
            generations: AtomicU64::new(0),
            current: ArcSwap::from_pointee(nothing),
        }
    }

    /// Loads all policies again, those that changed, and waits for those that are to be compiled. Requests
    /// that are under way keep their generation; a policy that does not load any more keeps running as it
    /// was loaded last.
    pub async fn reload(&self) {
        let mut compiled = self.loader.lock().await.compiled();
        let mut is_new = true;
        loop {
            compiled.borrow_and_update();
            if self.reload_once(is_new, Until::Compiled).await || compiled.changed().await.is_err()
            {
                return;
            }
            is_new = false;
        }
    }

    /// Loads what can be loaded now; makes no generation of it where modules are to be compiled `until` then, and
    /// says so. Where something `is_new`, modules are compiled again that failed for a reason which may be gone.
    async fn reload_once(&self, is_new: bool, until: Until) -> bool {
        if self.config.module_dir == Path::new("") {
            return true;
        }
        let mut loader = self.loader.lock().await;
        if is_new {
            loader.retry();
        }
        let before = self.current();
        // What was announced has never run.
        let known = if before.number() > 0 {
            before.chain()
        } else {
            &[]
        };
        let policies = loader.load(known).await;
        let is_loading = policies.iter().any(|policy| policy.awaits_compiler());
        if is_loading && until == Until::Compiled {
            return false;
        }
        if before.number() > 0 && same(&policies, before.chain()) {
            return true;
        }
        let number = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let services = Arc::clone(&self.services);
        let generation = Generation::new(number, policies, &self.config, services);
        let policies = generation.policies();
        if let Some(cluster) = &self.services.cluster {
            cluster.needed(generation.needs());
        }
        self.current.store(Arc::new(generation));
        if let Some(observer) = &self.services.observer {
            observer.loaded(number, &policies);
        }
        true
    }

    /// Loads a policy again whose module is quarantined, or did not compile within its limits. Says whether
    /// it was so.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn release(&self, policy: &str) -> std::io::Result<bool> {
        let policies = self.current().policies();
        let digest = policies
            .into_iter()
            .find(|found| found.name == policy)
            .and_then(|found| found.digest);
        let Some(digest) = digest else {
            return Ok(false);
        };
        let was_held = self.loader.lock().await.release(&digest)?;
        if was_held {
            tracing::warn!(
                target: "cnidaria::policy",
                policy, digest, "released by an operator",
            );
            self.reload_once(true, Until::Loaded).await;
        }
        Ok(was_held)
    }

    /// Reloads whenever something in the directories changes. Ends when they cannot be watched.
    ///
    /// # Errors
    /// What the kernel says, for example that this user has no watches left.
    pub async fn watch(self: &Arc<Self>) -> std::io::Result<Infallible> {
        let config = &self.config;
        let dirs: Vec<PathBuf> = [Some(&config.module_dir), config.config_dir.as_ref()]
            .into_iter()
            .flatten()
            .filter(|dir| *dir != Path::new(""))
            .cloned()
            .collect();
        if dirs.is_empty() {
            return std::future::pending().await;
        }
        let mut watch = Watch::on(dirs)?;
        let mut compiled = self.loader.lock().await.compiled();
        // What changed since the first load, and before the watch, was told to nobody.
        self.reload_aside(true).await;
        loop {
            let ready = async {
                match select(pin!(self.bypass_ends()), pin!(compiled.changed())).await {
                    Either::Left(_) => true,
                    Either::Right(_) => false,
                }
            };
            let is_new = match select(pin!(watch.changed()), pin!(ready)).await {
                Either::Left((changed, _)) => {
                    changed?;
                    true
                }
                Either::Right((is_new, _)) => is_new,
            };
            self.reload_aside(is_new).await;
        }
    }

    /// Loads modules once they are compiled, where directories cannot be watched. Never ends.
    pub async fn take_compiled(self: &Arc<Self>) -> Infallible {
        let mut compiled = self.loader.lock().await.compiled();
        self.reload_aside(false).await;
        while compiled.changed().await.is_ok() {
            self.reload_aside(false).await;
        }
        std::future::pending().await
    }

    /// Waits until the bypass file is removed, under which the policies were loaded or not; for ever
    /// where there is none.
    async fn bypass_ends(&self) {
        if self.config.bypassed().is_none() {
            return std::future::pending().await;
        }
        while self.config.bypassed().is_some() {
            tokio::time::sleep(BYPASS_LOOK).await;
        }
    }

    /// Reloads on a thread of its own: to read modules and to map what they are compiled to takes the
    /// time of the disk, in which requests are to be served.
    async fn reload_aside(self: &Arc<Self>, is_new: bool) {
        let (host, runtime) = (Arc::clone(self), Handle::current());
        // Ends with this future, wherever it is.
        let (_wanted, not_any_more) = oneshot::channel::<Infallible>();
        let reloading = tokio::task::spawn_blocking(move || {
            runtime.block_on(select(
                pin!(host.reload_once(is_new, Until::Loaded)),
                not_any_more,
            ));
        });
        if let Err(error) = reloading.await {
            tracing::error!(target: "cnidaria::policy", %error, "the policies were not loaded again");
        }
    }

    /// What the host was loaded with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The most bytes of memory that guests ever had together.
    pub fn guest_memory_peak(&self) -> u64 {
        self.services.memory.peak()
    }

    /// The current generation. A request takes it once and keeps it.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }
}

/// What a load waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// What can be loaded is.
    Loaded,
    /// So is what is being compiled.
    Compiled,
}

fn same(new: &[Arc<Policy>], old: &[Arc<Policy>]) -> bool {
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| Arc::ptr_eq(new, old))
}
