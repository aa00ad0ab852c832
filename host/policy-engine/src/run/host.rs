//! Loads a node's policies, reloads them, and holds the current generation.

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

use crate::config::Config;
use crate::load::loader::Loader;
use crate::load::policy::Policy;
use crate::load::watch::Watch;
use crate::pool::Pool;
use crate::record::{Noting, Recorder, Sink};
use crate::run::generation::Generation;
use crate::state::States;
use crate::wasm::memory::Memory;
use crate::wasm::services::Services;

/// Poll interval for the bypass file's removal. Its parent may be too busy a directory to watch.
const BYPASS_LOOK: Duration = Duration::from_millis(200);

/// How long a start waits for policies. A cached one loads in milliseconds and a small one compiles
/// in a second; slower ones are still `loading` when the daemon begins to serve.
const START: Duration = Duration::from_secs(2);

/// Loads policies and holds their current generation.
#[derive(Debug)]
pub struct PolicyHost {
    config: Config,
    services: Arc<Services>,
    pool: Arc<Pool>,
    recorder: Option<Arc<Recorder>>,
    /// Held during a load: one load at a time.
    loader: tokio::sync::Mutex<Loader>,
    generations: AtomicU64,
    current: ArcSwap<Generation>,
}

impl PolicyHost {
    /// Loads all policies and waits until they are compiled. Needs tokio's time and process
    /// drivers.
    ///
    /// Never fails as a whole: a policy that does not load is kept as broken, with file and reason,
    /// and ADDs that it would have seen fail closed.
    pub async fn load(config: Config) -> Self {
        let host = Self::of(config);
        host.reload().await;
        host
    }

    /// Like [`load`](Self::load), but waits at most two seconds; [`watch`](Self::watch) or
    /// [`take_compiled`](Self::take_compiled) loads the rest. Until a policy is loaded, ADDs that
    /// it would have seen fail with "try again later".
    pub async fn start(config: Config) -> Arc<Self> {
        let host = Arc::new(Self::of(config));
        let policies = host.loader.lock().await.announce();
        let announced = Generation::new(0, policies, &host.config, host.parts());
        host.current.store(Arc::new(announced));
        let first = Arc::clone(&host);
        // Keeps running after the timeout.
        let first = tokio::spawn(async move { first.reload_aside(true).await });
        let _ = tokio::time::timeout(START, host.begin(first)).await;
        host
    }

    /// Waits for the first load and its compilations.
    async fn begin(self: &Arc<Self>, first: JoinHandle<()>) {
        // The panic handler has logged any panic.
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

    /// A host without policies, for a daemon that configures none.
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
            cluster: match &config.recording {
                Some(_) => Some(Arc::new(Noting(config.cluster.clone()))),
                None => config.cluster.clone(),
            },
            observer: config.observer.clone(),
            states: Arc::new(States::new(
                config.state_dir.clone(),
                config.observer.clone(),
            )),
            memory: Arc::new(Memory::new(config.guest_memory_bytes)),
            turns: Arc::default(),
            witness: None,
            clock: None,
        });
        let pool = Arc::new(Pool::new(Arc::clone(&services)));
        let loader = Loader::new(config.clone(), Arc::clone(&services));
        let recorder = config.recording.clone().map(Recorder::new);
        let sink = recorder.clone().map(|recorder| recorder as Arc<dyn Sink>);
        let parts = (Arc::clone(&pool), sink);
        let nothing = Generation::new(0, Vec::new(), &config, parts);
        Self {
            config,
            services,
            pool,
            recorder,
            loader: tokio::sync::Mutex::new(loader),
            generations: AtomicU64::new(0),
            current: ArcSwap::from_pointee(nothing),
        }
    }

    /// A host with one policy and services of its own, which loads nothing.
    #[cfg(feature = "compile")]
    pub(crate) fn of_policy(
        config: Config,
        services: Arc<Services>,
        policy: Arc<Policy>,
        sink: Option<Arc<dyn Sink>>,
    ) -> Self {
        let loader = Loader::new(config.clone(), Arc::clone(&services));
        let pool = Arc::new(Pool::new(Arc::clone(&services)));
        let parts = (Arc::clone(&pool), sink);
        let only = Generation::new(1, vec![policy], &config, parts);
        Self {
            config,
            services,
            pool,
            recorder: None,
            loader: tokio::sync::Mutex::new(loader),
            generations: AtomicU64::new(1),
            current: ArcSwap::from_pointee(only),
        }
    }

    /// What records the requests, if the configuration has it.
    pub fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref()
    }

    /// What all generations share.
    fn parts(&self) -> (Arc<Pool>, Option<Arc<dyn Sink>>) {
        let sink = self.recorder.clone();
        let sink = sink.map(|recorder| recorder as Arc<dyn Sink>);
        (Arc::clone(&self.pool), sink)
    }

    /// The services behind the grants.
    #[cfg(feature = "compile")]
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// Reloads the policies that changed and waits until they are compiled. Requests in flight keep
    /// their generation; a policy that no longer loads keeps running as last loaded.
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

    /// Loads what can be loaded now. Makes no generation and returns `false` if `until` is
    /// `Compiled` and modules are still being compiled. `is_new` retries failed compilations.
    async fn reload_once(&self, is_new: bool, until: Until) -> bool {
        if self.config.module_dir == Path::new("") {
            return true;
        }
        let mut loader = self.loader.lock().await;
        if is_new {
            loader.retry();
        }
        let before = self.current();
        // An announced generation has never run.
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
        let generation = Generation::new(number, policies, &self.config, self.parts());
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

    /// Retries a policy whose module is quarantined or exceeded compile limits; returns whether it
    /// was.
    ///
    /// # Errors
    /// File system errors.
    pub async fn release(self: &Arc<Self>, policy: &str) -> std::io::Result<bool> {
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
                policy, digest, "an operator released the module from quarantine",
            );
            self.reload_aside(true).await;
        }
        Ok(was_held)
    }

    /// Reloads whenever the directories change. Returns only if they cannot be watched.
    ///
    /// # Errors
    /// The kernel's error, for example if this user's inotify watches are exhausted.
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
        let mut watch = Watch::on(dirs).await?;
        let mut compiled = self.loader.lock().await.compiled();
        // Catches changes between the first load and the start of the watch.
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

    /// Loads modules once compiled, where directories cannot be watched. Never returns.
    pub async fn take_compiled(self: &Arc<Self>) -> Infallible {
        let mut compiled = self.loader.lock().await.compiled();
        self.reload_aside(false).await;
        while compiled.changed().await.is_ok() {
            self.reload_aside(false).await;
        }
        std::future::pending().await
    }

    /// Waits until the bypass file is removed; without one, for ever.
    async fn bypass_ends(&self) {
        if self.config.bypassed().is_none() {
            return std::future::pending().await;
        }
        while self.config.bypassed().is_some() {
            tokio::time::sleep(BYPASS_LOOK).await;
        }
    }

    /// Reloads on a blocking thread: reading modules and mapping artefacts waits for the disk,
    /// which must not delay requests.
    async fn reload_aside(self: &Arc<Self>, is_new: bool) {
        let (host, runtime) = (Arc::clone(self), Handle::current());
        // Dropping this future cancels the reload.
        let (_wanted, not_any_more) = oneshot::channel::<Infallible>();
        let reloading = tokio::task::spawn_blocking(move || {
            runtime.block_on(select(
                pin!(host.reload_once(is_new, Until::Loaded)),
                not_any_more,
            ));
        });
        if let Err(error) = reloading.await {
            tracing::error!(target: "cnidaria::policy", %error, "the reload of the policies panicked; the previous ones stay in force");
        }
    }

    /// The configuration that the host was created with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Peak memory of all guests together, in bytes.
    pub fn guest_memory_peak(&self) -> u64 {
        self.services.memory.peak()
    }

    /// The current generation. A request takes it once and keeps it.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Everything that needs no compiling is loaded.
    Loaded,
    /// Everything is compiled and loaded.
    Compiled,
}

fn same(new: &[Arc<Policy>], old: &[Arc<Policy>]) -> bool {
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| Arc::ptr_eq(new, old))
}
