//! Parallel compilations and dry runs in the background: a slow module delays neither others nor
//! requests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::compiler::{Compiler, GivenUp, Notes};
use super::places::Places;
use super::{Error, group};
use crate::load::confinement::DryRun;

/// Bytes of a module up to which it is small.
const SMALL: u64 = 1 << 20;
/// Maximum number of remembered failures.
const MAX_FAILED: usize = 256;

/// The compilations of one cache; dropping it cancels them.
#[derive(Debug)]
pub(super) struct Jobs {
    compiler: Arc<Compiler>,
    places: Places,
    shared: Arc<Shared>,
    running: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<JobStates>,
    /// Counts compilations that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct JobStates {
    running: BTreeSet<String>,
    /// Modules compiled since the last retry.
    compiled: BTreeSet<String>,
    /// Dry runs that ended well and could not be recorded.
    ran: BTreeSet<String>,
    /// Dry runs that did not take place, until the next retry.
    not_run: BTreeSet<String>,
    /// Why modules failed to compile, by digest, or crashed, by digest and record.
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
        Self {
            compiler: Arc::new(compiler),
            places: Places::new(),
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
        tracing::info!(target: "cnidaria::policy", module = %module.display(), digest, "compiling a module");
        let job = Job {
            compiler: Arc::clone(&self.compiler),
            places: self.places.clone(),
            shared: Arc::clone(&self.shared),
            key: digest.to_owned(),
            work: Work::Compile {
                module: module.to_owned(),
                artefact: artefact.to_owned(),
            },
        };
        // On the runtime's own threads: the parent-death signal fires when the spawning thread
        // exits.
        self.running.spawn(job.run());
        Error::Compiling
    }

    /// Whether a dry run has ended well, or was tried in vain since the last retry. Starts it,
    /// unless it is running or is known to fail; the returned error says which. Must be called
    /// within a runtime.
    pub(super) fn dry_run(
        &mut self,
        digest: &str,
        dry_run: DryRun,
        settings: &str,
    ) -> Result<(), Error> {
        while self.running.try_join_next().is_some() {}
        let record = dry_run.record(settings);
        let key = format!("{digest} {}", record.display());
        {
            let mut state = self.shared.state();
            if state.running.contains(&key) {
                return Err(Error::DryRun);
            }
            if let Some(failed) = state.failed.get(&key) {
                return Err(Error::Failed(Arc::clone(&failed.error)));
            }
            let is_done = state.ran.contains(&key) || state.not_run.contains(&key);
            if is_done || record.exists() {
                return Ok(());
            }
            state.running.insert(key.clone());
        }
        let job = Job {
            compiler: Arc::clone(&self.compiler),
            places: self.places.clone(),
            shared: Arc::clone(&self.shared),
            key,
            work: Work::DryRun {
                dry_run,
                settings: settings.to_owned(),
            },
        };
        self.running.spawn(job.run());
        Err(Error::DryRun)
    }

    /// Sets how long a job may hold a place that others want.
    #[cfg(test)]
    pub(super) fn set_place_time(&mut self, time: std::time::Duration) {
        self.places.time = time;
    }

    /// Allows retrying modules whose compilation or dry run failed for a possibly temporary reason.
    pub(super) fn retry(&self) {
        let mut state = self.shared.state();
        state.failed.retain(|_, failed| failed.is_final);
        state.compiled.clear();
        state.not_run.clear();
    }

    /// Allows retrying a module after any failure. Returns whether it had failed.
    pub(super) fn forget(&self, digest: &str, artefact: &Path) -> bool {
        let mut state = self.shared.state();
        let before = state.failed.len();
        state.failed.retain(|key, _| !key.starts_with(digest));
        let failed = state.failed.len() < before;
        drop(state);
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
    fn state(&self) -> MutexGuard<'_, JobStates> {
        self.state.lock()
    }
}

struct Job {
    compiler: Arc<Compiler>,
    places: Places,
    shared: Arc<Shared>,
    /// Identifies the job: the digest of a compilation, digest and record of a dry run.
    key: String,
    work: Work,
}

enum Work {
    Compile { module: PathBuf, artefact: PathBuf },
    DryRun { dry_run: DryRun, settings: String },
}

impl Work {
    /// Whether a dry run's good end is on disk.
    fn is_recorded(&self) -> bool {
        match self {
            Self::Compile { .. } => false,
            Self::DryRun { dry_run, settings } => dry_run.record(settings).exists(),
        }
    }

    /// Whether it may use the place of small modules.
    fn is_small(&self) -> bool {
        match self {
            Self::Compile { module, .. } => {
                std::fs::metadata(module).is_ok_and(|file| file.len() <= SMALL)
            }
            Self::DryRun { .. } => true,
        }
    }
}

/// Whether the work took place, or why it failed.
type Done = (Result<bool, Error>, Notes);

impl Job {
    async fn run(self) {
        let ended = Ended(&self.shared, &self.key);
        let (done, notes) = self.work_in_place().await;
        self.log(notes);
        match (done, &self.work) {
            (Ok(has_run), work) => {
                let is_recorded = work.is_recorded();
                let mut state = self.shared.state();
                let done = match work {
                    Work::Compile { .. } => Some(&mut state.compiled),
                    Work::DryRun { .. } if !has_run => Some(&mut state.not_run),
                    Work::DryRun { .. } => (!is_recorded).then_some(&mut state.ran),
                };
                if let Some(done) = done {
                    done.insert(self.key.clone());
                }
            }
            (Err(error), _) => self.failed(error),
        }
        drop(ended);
    }

    async fn work_in_place(&self) -> Done {
        let mut attempt: u32 = 0;
        loop {
            let is_small = attempt == 0 && self.work.is_small();
            let Some(place) = self.places.acquire(is_small, attempt).await else {
                return self.work().await;
            };
            let wanted = pin!(place.is_wanted(attempt));
            // Dropping the work kills its process.
            if let Either::Left((done, _)) = select(pin!(self.work()), wanted).await {
                return done;
            }
            tracing::info!(target: "cnidaria::policy", job = self.key, "a compilation takes long; it makes way for others and starts again later");
            attempt = attempt.saturating_add(1);
        }
    }

    async fn work(&self) -> Done {
        match &self.work {
            Work::Compile { module, artefact } => {
                let (done, notes) = self.compiler.compile(module, &self.key, artefact).await;
                (done.map(|()| true), notes)
            }
            Work::DryRun { dry_run, settings } => {
                self.compiler.dry_run(dry_run.clone(), settings).await
            }
        }
    }

    fn failed(&self, error: Error) {
        if let (Error::Exhausted { reason, limits }, Work::Compile { artefact, .. }) =
            (&error, &self.work)
        {
            GivenUp::write(artefact, reason, *limits);
        }
        let is_final = matches!(
            error,
            Error::Refused { .. } | Error::Exhausted { .. } | Error::Crashed { .. }
        );
        let mut state = self.shared.state();
        if state.failed.len() >= MAX_FAILED {
            state.failed.clear();
        }
        let error = Arc::new(error);
        let failed = Failed { error, is_final };
        state.failed.insert(self.key.clone(), failed);
    }

    /// Logs privileges that the compiler could not drop, each once.
    fn log(&self, notes: Notes) {
        for note in notes {
            if self.shared.state().noted.insert(note.clone()) {
                tracing::warn!(target: "cnidaria::policy", "the compiler's process keeps privileges that it should not need: {note}");
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
