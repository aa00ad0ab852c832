//! Compiled modules on disk: a cache that only root or this user can write, filled by a child
//! process, mapped read-only.

mod compiler;
mod group;
mod jobs;
mod unused;

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::{COMPATIBILITY, Engines};
use crate::quarantine::Trials;
use crate::report::Hook;
use jobs::Jobs;

pub(crate) use compiler::Compiler;
pub(crate) use group::own_limit;

/// What the compiler exits with when it is the module that is wrong, as sysexits.h has it for data:
/// to compile that once more would end the same way.
pub(crate) const REFUSED: u8 = 65;
/// Where artefacts are, and who makes them.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    jobs: Jobs,
}

/// Why there is no artefact.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The directory or a file of the cache cannot be used.
    #[error("cannot use {path} of the artefact cache", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could have written what would be executed.
    #[error("{path} of the artefact cache is not safe: {reason}", path = path.display())]
    Unsafe {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The compiler cannot be started.
    #[error("cannot run the compiler {compiler}", compiler = compiler.display())]
    Spawn {
        /// The compiler.
        compiler: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The compiler refuses the module.
    #[error("does not compile: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The compiler crashed, or failed for a reason that is not the module's.
    #[error("does not compile: {reason}")]
    Compile {
        /// What it said, or how it ended.
        reason: String,
    },
    /// The compiler needs more time or memory than it may have.
    #[error(
        "does not compile: {reason}; it is tried again when the module changes, the limit is raised, or `cnidaria policy release` asks for it"
    )]
    Exhausted {
        /// Of what.
        reason: String,
        /// Under which it failed.
        limits: compiler::Limits,
    },
    /// There is no artefact yet.
    #[error("its module is being compiled")]
    Compiling,
    /// As before.
    #[error(transparent)]
    Failed(Arc<Self>),
    /// The module is not what it was.
    #[error("it changed while it was compiled")]
    Changed,
    /// The artefact that was just made does not load.
    #[error("the compiled module does not load")]
    Load {
        /// Why.
        source: wasmtime::Error,
    },
}

impl Cache {
    /// A cache in `dir`, filled by `compiler`.
    pub(crate) fn new(dir: PathBuf, compiler: Compiler) -> Self {
        Self {
            dir,
            jobs: Jobs::new(compiler),
        }
    }

    /// The component of a module. Where no artefact fits, the module is compiled in the background, and
    /// [`Error::Compiling`] says so; not once more if the compiler has refused it.
    pub(crate) fn component(
        &mut self,
        engines: &Engines,
        module: &Path,
        digest: &str,
        trials: &Trials,
    ) -> Result<Component, Error> {
        self.prepare()?;
        let load = |artefact: &Path| {
            let _mark = trials.begin(Hook::Configure);
            load(engines, artefact)
        };
        let artefact = self.artefact(digest);
        if artefact.exists() {
            check(&artefact, &read_metadata(&artefact)?, 0o600)?;
            match load(&artefact) {
                Ok(component) => {
                    unused::touch(&artefact);
                    return Ok(component);
                }
                // The compiler is of another version.
                Err(source) if self.jobs.have_compiled(digest) => {
                    return Err(Error::Load { source });
                }
                // Of another version of wasmtime, or of another processor.
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

    fn artefact(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join(format!("{hex}-{COMPATIBILITY}.cwasm"))
    }

    /// Lets modules be compiled again that failed for a reason which may be gone.
    pub(crate) fn retry(&self) {
        self.jobs.retry();
    }

    /// Lets a module be compiled again, whatever the reason was. Says whether there was one.
    pub(crate) fn forget(&self, digest: &str) -> bool {
        self.jobs.forget(digest, &self.artefact(digest))
    }

    /// Whether modules are being compiled.
    pub(crate) fn is_compiling(&self) -> bool {
        self.jobs.are_running()
    }

    /// Tells when compilations end.
    pub(crate) fn compiled(&self) -> watch::Receiver<u64> {
        self.jobs.ended()
    }

    /// Removes what none of the modules in `needed` has use for.
    pub(crate) fn sweep(&self, needed: &BTreeSet<&str>) {
        unused::sweep(&self.dir, needed);
    }

    fn prepare(&self) -> Result<(), Error> {
        private(&self.dir)
    }
}

/// Makes a directory, or checks that it is this user's alone.
pub(crate) fn private(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::Io {
            path: dir.to_owned(),
            source,
        })?;
    check(dir, &read_metadata(dir)?, 0o700)
}

fn read_metadata(path: &Path) -> Result<Metadata, Error> {
    fs::symlink_metadata(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

/// Whether root or this user alone can write what would be executed.
fn check(path: &Path, metadata: &Metadata, mode: u32) -> Result<(), Error> {
    let refused = |reason| Error::Unsafe {
        path: path.to_owned(),
        reason,
    };
    let user = rustix::process::geteuid().as_raw();
    if metadata.file_type().is_symlink() {
        return Err(refused("it is a symbolic link".to_owned()));
    }
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(refused(format!(
            "it belongs to user {}, not to root or {user}",
            metadata.uid()
        )));
    }
    let actual = metadata.permissions().mode() & 0o777;
    if actual & !mode != 0 {
        return Err(refused(format!(
            "its mode is {actual:o}, at most {mode:o} is safe"
        )));
    }
    Ok(())
}

/// Loads an artefact for instances in slots, or, where the module has no room in one, for plain ones.
fn load(engines: &Engines, artefact: &Path) -> wasmtime::Result<Component> {
    let slots = engines.slots.as_ref();
    match slots.and_then(|engine| map(engine, artefact).ok()) {
        Some(component) => Ok(component),
        None => map(&engines.plain, artefact),
    }
}

#[expect(
    unsafe_code,
    reason = "maps machine code that was compiled from a module"
)]
fn map(engine: &Engine, artefact: &Path) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime executes what the file has, so it must be what this engine's compiler
    // wrote, and it must not change while it is mapped. The contract that makes it so:
    // - `check` has found directory and file to be writable by root or this user alone, and the
    //   directory to be searchable by nobody else;
    // - nothing but `Compiler::compile` writes in the directory: into another name, synced, and
    //   renamed when the compiler succeeded; a file that has its final name is never written to;
    // - wasmtime refuses files of another version, configuration or processor.
    unsafe { Component::deserialize_file(engine, artefact) }
}

/// A component once more, for another engine of the same configuration.
#[expect(
    unsafe_code,
    reason = "copies machine code that was compiled from a module"
)]
pub(crate) fn copy(component: &Component, engine: &Engine) -> wasmtime::Result<Component> {
    let bytes = component.serialize()?;
    // SAFETY: the bytes are those of a component that `map` has loaded, unchanged.
    unsafe { Component::deserialize(engine, bytes) }
}

#[cfg(test)]
mod tests;
