//! Compiled modules on disk: a cache that only root or this user can write. A child process fills
//! it; the daemon maps a copy that nothing else can open by name.

mod compiler;
mod copy;
mod dry_run;
mod group;
mod jobs;
mod places;
mod unused;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use wasmtime::component::Component;

use crate::config::Spec;
use crate::load::confinement::DryRun;
use crate::load::private;
use crate::model::report::Hook;
use crate::wasm::engine::{COMPATIBILITY, Engines};
use crate::wasm::footprint::{self, Footprint};
use crate::wasm::machine_code;
use crate::wasm::trials::Trials;
use copy::Copy;
use jobs::Jobs;

pub(crate) use compiler::Compiler;

/// The compiler's exit code if the module itself is at fault (`EX_DATAERR` of sysexits.h), so that
/// compiling it again would fail as well.
pub(crate) const REFUSED: u8 = 65;

/// The directory of artefacts, and the jobs that compile them.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    jobs: Jobs,
}

/// Why no artefact is available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A directory or file of the cache is unusable.
    #[error("cannot use {path} of the artefact cache", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The cache is unusable, or another user could have written code that the daemon would execute.
    #[error("the artefact cache")]
    Private(#[from] private::Error),
    /// The compiler cannot be started.
    #[error("cannot run the compiler {compiler}", compiler = compiler.display())]
    Spawn {
        compiler: PathBuf,
        source: io::Error,
    },
    /// The compiler rejects the module.
    #[error("does not compile: {reason}")]
    Refused {
        /// The compiler's message.
        reason: String,
    },
    /// The compiler crashed, or failed for a reason other than the module.
    #[error("does not compile: {reason}")]
    Compile {
        /// The compiler's message, or how it ended.
        reason: String,
    },
    /// The compiler exceeded its limit on time or memory.
    #[error(
        "does not compile: {reason}; it is tried again when the module changes, the limit is raised, or `cnidaria policy release` asks for it"
    )]
    Exhausted {
        /// Which resource ran out.
        reason: String,
        /// The limits that applied.
        limits: compiler::CompileLimits,
    },
    /// The first instance ended the process that made it.
    #[error("a dry run crashed: {reason}")]
    Crashed {
        /// How the process ended.
        reason: String,
    },
    /// The first instance is being made.
    #[error("it is in a dry run")]
    DryRun,
    /// The module is still being compiled.
    #[error("its module is being compiled")]
    Compiling,
    /// An earlier error, remembered.
    #[error(transparent)]
    Failed(Arc<Self>),
    /// The host's work on each instance is not bounded, or not known.
    #[error(transparent)]
    Footprint(#[from] footprint::Error),
    /// The module changed during compilation.
    #[error("it changed while it was compiled")]
    Changed,
    /// The freshly compiled artefact does not load.
    #[error("the compiled module does not load")]
    Load { source: wasmtime::Error },
}

impl Error {
    /// Whether a dry run crashed.
    pub(crate) fn is_crash(&self) -> bool {
        match self {
            Self::Crashed { .. } => true,
            Self::Failed(error) => error.is_crash(),
            _ => false,
        }
    }
}

impl Cache {
    /// A cache in `dir`, filled by `compiler`.
    pub(crate) fn new(dir: PathBuf, compiler: Compiler) -> Self {
        Self {
            dir,
            jobs: Jobs::new(compiler),
        }
    }

    /// The component of a module, and what its instances cost. Without a usable artefact, starts
    /// compiling in the background and returns [`Error::Compiling`]; does not retry a module that
    /// the compiler has rejected.
    pub(crate) fn component(
        &mut self,
        engines: &Engines,
        module: &Path,
        digest: &str,
        trials: &Trials,
    ) -> Result<(Component, Footprint), Error> {
        self.prepare()?;
        let load = |artefact: &Path| {
            let _mark = trials.begin(Hook::Configure);
            load(engines, artefact)
        };
        let artefact = self.artefact(digest);
        if artefact.exists() {
            private::check_file(&artefact)?;
            let io = |source| Error::Io {
                path: artefact.clone(),
                source,
            };
            let copy = Copy::of(&artefact).map_err(io)?;
            Footprint::is_described_briefly(&copy.path())?;
            match load(&copy.path()) {
                Ok(component) => {
                    unused::touch(&artefact);
                    return Ok((component, Footprint::of(&copy.path())?));
                }
                // Just compiled, yet it does not load: the compiler is of another version.
                Err(source) if self.jobs.have_compiled(digest) => {
                    return Err(Error::Load { source });
                }
                // Compiled by another wasmtime version or for another processor: compile it again.
                Err(error) => tracing::info!(
                    target: "cnidaria::policy",
                    artefact = %artefact.display(),
                    error = %format!("{error:#}"),
                    "recompiling: the artefact does not fit this engine",
                ),
            }
        }
        Err(self.jobs.compile(module, digest, &artefact))
    }

    /// Whether a first instance was made in another process. Otherwise starts that process in the
    /// background and returns [`Error::DryRun`].
    ///
    /// # Errors
    /// [`Error::Crashed`] if that process crashed, [`Error::Exhausted`] if it did not end.
    pub(crate) fn dry_run(&mut self, digest: &str, spec: &Spec) -> Result<(), Error> {
        let dry_run = DryRun {
            artefact: self.artefact(digest),
            limits: spec.limits,
            grants: spec.grants.clone(),
        };
        self.jobs.dry_run(digest, dry_run, &spec.settings)
    }

    fn artefact(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join(format!("{hex}-{COMPATIBILITY}.cwasm"))
    }

    /// Allows retrying modules whose compilation failed for a possibly temporary reason.
    pub(crate) fn retry(&self) {
        self.jobs.retry();
    }

    /// Allows retrying a module after any failure. Returns whether it had failed.
    pub(crate) fn forget(&self, digest: &str) -> bool {
        self.jobs.forget(digest, &self.artefact(digest))
    }

    /// Whether modules are being compiled.
    pub(crate) fn is_compiling(&self) -> bool {
        self.jobs.are_running()
    }

    /// Notifies when compilations end.
    pub(crate) fn compiled(&self) -> watch::Receiver<u64> {
        self.jobs.ended()
    }

    /// Removes old artefacts that no module in `needed` uses.
    pub(crate) fn sweep(&self, needed: &BTreeSet<&str>) {
        unused::sweep(&self.dir, needed);
    }

    fn prepare(&self) -> Result<(), Error> {
        Ok(private::make_dir(&self.dir)?)
    }
}

/// Loads an artefact for instances in slots, or without slots if the module does not fit in one.
fn load(engines: &Engines, artefact: &Path) -> wasmtime::Result<Component> {
    let slots = engines.slots.as_ref();
    match slots.and_then(|engine| machine_code::map(engine, artefact).ok()) {
        Some(component) => Ok(component),
        None => machine_code::map(&engines.plain, artefact),
    }
}

#[cfg(test)]
mod tests;
