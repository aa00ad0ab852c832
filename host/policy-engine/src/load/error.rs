//! Why one policy does not load.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::artifact;
use crate::call::Failure;
use crate::config::Grant;
use crate::hooks;
use crate::module;

/// Why one policy does not load.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
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
        actual: String,
    },
    /// The daemon before this one ended while it called the module.
    #[error("the module {path} is quarantined: the daemon ended while it called {hook} of it; `cnidaria policy release {policy}` has it loaded again", path = path.display())]
    Quarantined {
        /// The module's file.
        path: PathBuf,
        /// What was called.
        hook: String,
        /// The policy.
        policy: String,
    },
    /// No policy runs, and no module is touched that does not run yet.
    #[error("not loaded while {file} exists (policies.bypassFile)", file = file.display())]
    Bypassed {
        /// The bypass file.
        file: PathBuf,
    },
    /// It may allocate more than all guests together.
    #[error("{file}: limits: memoryBytes and tableElements allow {most} bytes, and policies.guestMemoryBytes gives all policies together {limit}", file = file.display())]
    Memory {
        /// The configuration.
        file: PathBuf,
        /// What its limits allow.
        most: u64,
        /// The budget of the daemon.
        limit: u64,
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

impl Error {
    /// Whether the module may load in a moment.
    pub(super) fn is_compiling(&self) -> bool {
        matches!(
            self,
            Self::Artifact {
                source: artifact::Error::Compiling,
                ..
            }
        )
    }

    /// Grants that the module asks for, where it was not linked for want of one.
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
