//! Compilations side by side, in the background: a module that takes long delays no other, and no
//! request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::compiler::{Compiler, GivenUp, Notes};
use super::{Error, group};

/// Modules of which is remembered that they do not compile.
const MAX_FAILED: usize = 256;

/// The compilations of one cache. They end with it.
#[derive(Debug)]
pub(super) struct Jobs {
    compiler: Arc<Compiler>,
    /// As many run at once as there are processors; one that takes long leaves another one.
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
    running: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How many have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<String>,
    /// Modules that were compiled, and need not be once more.
    compiled: BTreeSet<String>,
    /// Why modules do not compile, by digest.
    failed: BTreeMap<String, Failed>,
    /// What was logged of what the compiler keeps.
    noted: BTreeSet<String>,
}

/// Why a module does not compile, as often as it is asked for.
#[derive(Debug, Clone)]
struct Failed {
    error: Arc<Error>,
    /// It would end the same way, as long as this process lives.
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

    /// Has a module compiled, unless it is being compiled or is known not to compile: the answer says
    /// which. Within a runtime.
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
        // On the runtime's own threads: the kernel takes a child for an orphan when the thread that
        // started it ends.
        self.running.spawn(job.run());
        Error::Compiling
    }

    /// Lets modules be tried again that failed for a reason which may be gone.
    pub(super) fn retry(&self) {
        let mut state = self.shared.state();
        state.failed.retain(|_, failed| failed.is_final);
        state.compiled.clear();
    }

    /// Lets a module be tried again, whatever the reason was. Says whether there was one.
    pub(super) fn forget(&self, digest: &str, artefact: &Path) -> bool {
        let failed = self.shared.state().failed.remove(digest).is_some();
        GivenUp::remove(artefact) || failed
    }

    /// Whether a module was compiled since what failed may be [tried again](Self::retry).
    pub(super) fn have_compiled(&self, digest: &str) -> bool {
        self.shared.state().compiled.contains(digest)
    }

    /// Whether modules are being compiled.
    pub(super) fn are_running(&self) -> bool {
        !self.shared.state().running.is_empty()
    }

    /// Tells when compilations end.
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
        // Never closed.
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

    /// Logs what the compiler could not give up, once.
    fn log(&self, notes: Notes) {
        for note in notes {
            if self.shared.state().noted.insert(note.clone()) {
                tracing::warn!(target: "cnidaria::policy", "the compiler is less confined: {note}");
            }
        }
    }
}

/// Ends a job, however it ends.
struct Ended<'a>(&'a Shared, &'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().running.remove(self.1);
        self.0.ended.send_modify(|count| *count += 1);
    }
}
