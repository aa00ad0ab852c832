//! Why one policy does not load.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::load::artifact;
use crate::model::grant::Grant;
use crate::wasm::hooks;
use crate::wasm::instance::Failure;
use crate::wasm::module;

/// Why one policy does not load.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The engine cannot be created on this machine.
    #[error("no engine for WebAssembly on this machine")]
    Engine { source: wasmtime::Error },
    /// The module cannot be read.
    #[error("cannot read the module {path}", path = path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The module's digest is not the one in the configuration.
    #[error("{file}: digest: expected {expected}, but the module {path} has {actual}", file = file.display(), path = path.display())]
    Digest {
        file: PathBuf,
        path: PathBuf,
        /// Digest in the configuration.
        expected: String,
        /// Digest of the module.
        actual: String,
    },
    /// A process ended while it ran the module: the previous daemon, or a dry run.
    #[error("the module {path} is quarantined: {process} ended while it ran {hook} of it; `cnidaria policy release {policy}` has it loaded again", path = path.display(), process = if *.dry_run { "a dry run" } else { "the daemon" })]
    Quarantined {
        path: PathBuf,
        /// The hook that ran, or the instantiation.
        hook: String,
        /// It was a dry run.
        dry_run: bool,
        policy: String,
    },
    /// The bypass is on: no policy runs, and modules that do not run yet are not loaded.
    #[error("not loaded while {file} exists (policies.bypassFile)", file = file.display())]
    Bypassed { file: PathBuf },
    /// The limits allow more memory than all guests may have together.
    #[error("{file}: limits: memoryBytes, tableElements and stackBytes allow an instance {most} bytes, and policies.guestMemoryBytes gives all policies together {limit}", file = file.display())]
    Memory {
        file: PathBuf,
        /// Bytes that the policy's limits allow.
        most: u64,
        /// Bytes in the daemon's budget.
        limit: u64,
    },
    /// The module's machine code is not available.
    #[error("the module {path}", path = path.display())]
    Artifact {
        path: PathBuf,
        source: artifact::Error,
    },
    /// The imports or exports are wrong.
    #[error("the module {path}", path = path.display())]
    Module {
        path: PathBuf,
        source: module::Error,
    },
    /// A hook has the wrong type.
    #[error("the module {path}", path = path.display())]
    Hooks { path: PathBuf, source: hooks::Error },
    /// The policy failed in configure.
    #[error("the module {path} failed while it was configured: {cause}: {reason}", path = path.display(), cause = failure.cause, reason = failure.reason)]
    Failed { path: PathBuf, failure: Failure },
    /// The settings are not as the module describes them.
    #[error("{place}: {pointer}: {reason}")]
    Described {
        /// The file, with line and column if it has settings.
        place: String,
        /// Where in the file: `/settings/search/1`.
        pointer: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The policy rejects its settings.
    #[error("{file}: settings: {reason}", file = file.display())]
    Settings {
        file: PathBuf,
        /// The policy's reason.
        reason: String,
    },
}

impl Error {
    /// Whether the module is still being compiled.
    pub(super) fn is_compiling(&self) -> bool {
        matches!(
            self,
            Self::Artifact {
                source: artifact::Error::Compiling | artifact::Error::DryRun,
                ..
            }
        )
    }

    /// Grants that the module asks for, if linking failed for lack of one.
    pub(super) fn asked(&self) -> BTreeSet<Grant> {
        match self {
            Self::Module {
                source: module::Error::NotGranted { asked, .. },
                ..
            } => asked.clone(),
            _ => BTreeSet::new(),
        }
    }
}
