//! Parallel compilations in the background: a slow module delays neither others nor requests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::compiler::{Compiler, GivenUp, Notes};
use super::{Error, group};

/// Maximum number of remembered failures.
const MAX_FAILED: usize = 256;

/// The compilations of one cache; dropping it cancels them.
#[derive(Debug)]
pub(super) struct Jobs {
    compiler: Arc<Compiler>,
    /// Concurrency limit: one compilation per processor.
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
    running: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Counts compilations that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<String>,
    /// Modules compiled since the last retry.
    compiled: BTreeSet<String>,
    /// Why modules failed to compile, by digest.
    failed: BTreeMap<String, Failed>,
    /// Notes that were already logged.
    noted: BTreeSet<String>,
}

/// A remembered failure to compile a module.
#[derive(Debug, Clone)]
struct Failed {
    error: Arc<Error>,
    /// Retrying would fail as well, as long as this process lives.
    is_final: bool,
}

impl Jobs {
    pub(super) fn new(compiler: Compiler) -> Self {
        if let Some(dir) = &compiler.cgroup {
            group::sweep(dir);
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            compiler: Arc::new(compiler),
            places: Arc::new(Semaphore::new(processors.max(2))),
            shared: Arc::new(Shared {
                state: Mutex::default(),
                ended: watch::Sender::new(0),
            }),
            running: JoinSet::new(),
        }
    }

    /// Starts compiling a module, unless it is already being compiled or is known to fail. The
    /// returned error says which. Must be called within a runtime.
    pub(super) fn compile(&mut self, module: &Path, digest: &str, artefact: &Path) -> Error {
        while self.running.try_join_next().is_some() {}
        {
            let mut state = self.shared.state();
            if state.running.contains(digest) {
                return Error::Compiling;
            }
            if let Some(failed) = state.failed.get(digest) {
                return Error::Failed(Arc::clone(&failed.error));
            }
            if let Some(error) = GivenUp::read(artefact, self.compiler.limits()) {
                return error;
            }
            state.running.insert(digest.to_owned());
        }
        tracing::info!(target: "cnidaria::policy", module = %module.display(), digest, "compiling");
        let job = Job {
            compiler: Arc::clone(&self.compiler),
            places: Arc::clone(&self.places),
            shared: Arc::clone(&self.shared),
            module: module.to_owned(),
            digest: digest.to_owned(),
            artefact: artefact.to_owned(),
        };
        // On the runtime's own threads: the parent-death signal fires when the spawning thread
        // exits.
        self.running.spawn(job.run());
        Error::Compiling
    }

    /// Allows retrying modules whose compilation failed for a possibly temporary reason.
    pub(super) fn retry(&self) {
        let mut state = self.shared.state();
        state.failed.retain(|_, failed| failed.is_final);
        state.compiled.clear();
    }

    /// Allows retrying a module after any failure. Returns whether it had failed.
    pub(super) fn forget(&self, digest: &str, artefact: &Path) -> bool {
        let failed = self.shared.state().failed.remove(digest).is_some();
        GivenUp::remove(artefact) || failed
    }

    /// Whether a module was compiled since the last [`retry`](Self::retry).
    pub(super) fn have_compiled(&self, digest: &str) -> bool {
        self.shared.state().compiled.contains(digest)
    }

    /// Whether modules are being compiled.
    pub(super) fn are_running(&self) -> bool {
        !self.shared.state().running.is_empty()
    }

    /// Notifies when compilations end.
    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.shared.ended.subscribe()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Job {
    compiler: Arc<Compiler>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
    module: PathBuf,
    digest: String,
    artefact: PathBuf,
}

impl Job {
    async fn run(self) {
        let ended = Ended(&self.shared, &self.digest);
        // The semaphore is never closed.
        let place = self.places.acquire().await;
        let (compiled, notes) = self
            .compiler
            .compile(&self.module, &self.digest, &self.artefact)
            .await;
        drop(place);
        self.log(notes);
        match compiled {
            Ok(()) => {
                let mut state = self.shared.state();
                state.compiled.insert(self.digest.clone());
            }
            Err(error) => self.failed(error),
        }
        drop(ended);
    }

    fn failed(&self, error: Error) {
        if let Error::Exhausted { reason, limits } = &error {
            GivenUp::write(&self.artefact, reason, *limits);
        }
        let is_final = matches!(error, Error::Refused { .. } | Error::Exhausted { .. });
        let mut state = self.shared.state();
        if state.failed.len() >= MAX_FAILED {
            state.failed.clear();
        }
        let error = Arc::new(error);
        let failed = Failed { error, is_final };
        state.failed.insert(self.digest.clone(), failed);
    }

    /// Logs privileges that the compiler could not drop, each once.
    fn log(&self, notes: Notes) {
        for note in notes {
            if self.shared.state().noted.insert(note.clone()) {
                tracing::warn!(target: "cnidaria::policy", "the compiler is less confined: {note}");
            }
        }
    }
}

/// Marks a job as ended on drop, even after a panic.
struct Ended<'a>(&'a Shared, &'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().running.remove(self.1);
        self.0.ended.send_modify(|count| *count += 1);
    }
}
