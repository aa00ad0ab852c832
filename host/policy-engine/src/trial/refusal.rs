//! Why a policy does not load.

use crate::config::schema;
use crate::model::report::Cause;
use crate::wasm::hooks;
use crate::wasm::instance::Failure;
use crate::wasm::module;

/// Why a policy does not load with its configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The module's digest is not the configured one.
    #[error("expected {expected}, but the module has {actual}")]
    Digest {
        /// Digest in the configuration.
        expected: String,
        /// Digest of the module.
        actual: String,
    },
    /// The configuration lacks grants that the module's imports need.
    #[error("{0}")]
    NotGranted(String),
    /// The imports or exports are wrong.
    #[error("{0}")]
    Module(String),
    /// The policy failed in configure.
    #[error("configure failed: {cause}: {reason}")]
    Failed {
        /// The class of the failure.
        cause: Cause,
        /// The reason, with the key of the limit if there is one.
        reason: String,
    },
    /// The settings are not as the module describes them.
    #[error("{pointer}: {reason}")]
    Described {
        /// Where in the configuration: `/settings/search/1`.
        pointer: String,
        /// What is wrong, and what was expected.
        reason: String,
        /// Byte of the settings' text.
        offset: usize,
    },
    /// The policy refuses its settings, with this reason.
    #[error("{0}")]
    Settings(String),
}

impl Refusal {
    pub(super) fn engine(error: wasmtime::Error) -> Self {
        Self::Module(format!("{error:#}"))
    }
}

impl From<schema::Fault> for Refusal {
    fn from(fault: schema::Fault) -> Self {
        let schema::Fault {
            pointer,
            reason,
            offset,
        } = fault;
        Self::Described {
            pointer,
            reason,
            offset,
        }
    }
}

impl From<module::Error> for Refusal {
    fn from(error: module::Error) -> Self {
        match &error {
            module::Error::NotGranted { .. } => Self::NotGranted(error.to_string()),
            module::Error::Link { source } => Self::Module(format!("{error}: {source:#}")),
            _ => Self::Module(error.to_string()),
        }
    }
}

impl From<hooks::Error> for Refusal {
    fn from(error: hooks::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Self::Module(text)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            cause: failure.cause,
            reason: failure.reason,
        }
    }
}
