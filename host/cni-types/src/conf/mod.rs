//! Network configurations from files, NADs or standard input, validated but kept as their original
//! text.

mod list;
mod plugin;

pub use list::{ConfKind, NetworkConfList};
pub use plugin::PluginConf;

use crate::clip::clip;
use crate::error::{CniError, chain, code};
use crate::{json, version};

/// Why a configuration was rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a JSON object.
    #[error("malformed network configuration")]
    Json(#[source] json::Error),
    /// A member is missing or empty.
    #[error("network configuration without {key:?}")]
    Missing {
        /// The member, such as `plugins[1].type`.
        key: String,
    },
    /// The configuration names no plugin to execute.
    #[error("network configuration with neither \"type\" nor \"plugins\"")]
    NoPlugin,
    /// A member has an invalid value.
    #[error("invalid value for {key:?} in the network configuration: {reason}")]
    Value {
        /// The member, such as `plugins[1].type`.
        key: String,
        /// The reason. Quotes only names: other values may be credentials.
        reason: String,
    },
    /// `cniVersion` is malformed or unsupported.
    #[error("cniVersion of the network configuration")]
    Version(#[source] version::Error),
}

impl Error {
    /// The error code of the specification.
    pub fn code(&self) -> u32 {
        match self {
            Self::Json(_) => code::DECODING_FAILURE,
            Self::Missing { .. } | Self::NoPlugin | Self::Value { .. } => code::INVALID_CONFIG,
            Self::Version(version::Error::Malformed { .. }) => code::INVALID_CONFIG,
            Self::Version(version::Error::Unsupported { .. }) => code::INCOMPATIBLE_VERSION,
        }
    }

    /// The error as printed by a plugin.
    pub fn to_cni_error(&self) -> CniError {
        let error = CniError::new(self.code(), self.to_string());
        match std::error::Error::source(self) {
            Some(source) => error.with_details(chain(source)),
            None => error,
        }
    }

    /// The same error, with the member's path inside the list.
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
