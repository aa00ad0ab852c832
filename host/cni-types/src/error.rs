//! The error object that a plugin prints and a runtime parses.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::Cause;

/// The error codes of the specification, and the start of the plugin-specific range.
pub mod code {
    /// Incompatible CNI version.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// Unsupported field in the configuration; the message contains key and value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or does not exist; the runtime need not call DEL.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` variable is missing or malformed; the message names it.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// I/O failure, for example reading the configuration.
    pub const IO_FAILURE: u32 = 5;
    /// Content cannot be decoded, for example the configuration is not JSON.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is invalid.
    pub const INVALID_CONFIG: u32 = 7;
    /// The network namespace is not usable.
    pub const INVALID_NETNS: u32 = 8;
    /// A transient condition; the runtime should retry the call.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: the plugin cannot serve ADD requests.
    pub const PLUGIN_NOT_AVAILABLE: u32 = 50;
    /// STATUS: as 50, and running containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// First plugin-specific code.
    pub const FIRST_OWN: u32 = 100;
    /// Generic code of plugins built with the reference library.
    pub const INTERNAL: u32 = 999;
}

/// An error as printed on standard output (specification, section 5, Error).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct CniError {
    /// The configuration's version, if known.
    #[serde(
        rename = "cniVersion",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub cni_version: Option<String>,
    /// One of [`code`], or a plugin-specific code from 100 on.
    #[serde(default)]
    pub code: u32,
    /// A short message on one line.
    #[serde(default)]
    pub msg: String,
    /// A longer text; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self {
            cni_version: None,
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// Sets the details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: impl fmt::Display) -> Self {
        self.cni_version = Some(version.to_string()).filter(|version| !version.is_empty());
        self
    }

    /// Parses a plugin's output. `None` when it is not an error object: not JSON, or with neither a
    /// code nor a message.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let error: Self = serde_json::from_slice(bytes).ok()?;
        (error.code != 0 || !error.msg.is_empty()).then_some(error)
    }

    /// The JSON object, indented as plugins do.
    pub fn to_json(&self) -> String {
        crate::json::to_string_pretty(self).expect("strings and a number are JSON")
    }
}

/// Message and details on one line, without the code.
impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}

/// Joins an error and its causes with colons, effect first. A cause that its effect already
/// contains, as with transparent errors, appears once. Causes from serde appear without the values
/// they quote.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = match cause.downcast_ref() {
            Some(json) => Cause::of(json).to_string(),
            None => cause.to_string(),
        };
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}
