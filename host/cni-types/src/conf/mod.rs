//! Network configurations: what is read from a file, a NAD or standard input, checked, and kept as
//! the text it was.

mod list;
mod plugin;

pub use list::{ConfKind, NetworkConfList};
pub use plugin::PluginConf;

use crate::clip::clip;
use crate::error::{CniError, code};
use crate::{json, version};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a JSON object.
    #[error("malformed network configuration")]
    Json(#[source] json::Error),
    /// A member is missing or empty.
    #[error("network configuration without {key:?}")]
    Missing {
        /// Which, such as `plugins[1].type`.
        key: String,
    },
    /// It says nothing of what is to be executed.
    #[error("network configuration with neither \"type\" nor \"plugins\"")]
    NoPlugin,
    /// A member has a value that is not allowed.
    #[error("invalid value for {key:?} in the network configuration: {reason}")]
    Value {
        /// Which, such as `plugins[1].type`.
        key: String,
        /// What is wrong with it. Tells the value of names alone: others may be credentials.
        reason: String,
    },
    /// `cniVersion` is not one that is implemented.
    #[error("cniVersion of the network configuration")]
    Version(#[source] version::Error),
}

impl Error {
    /// The code that the specification has for it.
    pub fn code(&self) -> u32 {
        match self {
            Self::Json(_) => code::DECODING_FAILURE,
            Self::Missing { .. } | Self::NoPlugin | Self::Value { .. } => code::INVALID_CONFIG,
            Self::Version(version::Error::Malformed { .. }) => code::INVALID_CONFIG,
            Self::Version(version::Error::Unsupported { .. }) => code::INCOMPATIBLE_VERSION,
        }
    }

    /// The error as a plugin prints it.
    pub fn to_cni_error(&self) -> CniError {
        let error = CniError::new(self.code(), self.to_string());
        match std::error::Error::source(self) {
            Some(source) => error.with_details(chain(source)),
            None => error,
        }
    }

    /// The same error for a member of a plugin of a list.
    fn within(self, prefix: &str) -> Self {
        match self {
            Self::Missing { key } => Self::Missing {
                key: format!("{prefix}.{key}"),
            },
            Self::Value { key, reason } => Self::Value {
                key: format!("{prefix}.{key}"),
                reason,
            },
            Self::NoPlugin | Self::Json(_) | Self::Version(_) => self,
        }
    }

    fn value(key: &str, reason: impl ToString) -> Self {
        Self::Value {
            key: key.to_owned(),
            reason: clip(&reason.to_string()),
        }
    }
}

/// A cause and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
