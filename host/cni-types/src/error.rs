//! The error object that a plugin prints and a runtime reads.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The well-known codes of the specification, and the two ranges around them.
pub mod code {
    /// Incompatible CNI version.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// Unsupported field in the configuration; the message has key and value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or does not exist; the runtime need not call DEL.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` variable is missing or malformed; the message names it.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Input or output failed, for example reading the configuration.
    pub const IO_FAILURE: u32 = 5;
    /// Content cannot be decoded, for example the configuration is no JSON.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is invalid.
    pub const INVALID_CONFIG: u32 = 7;
    /// The network namespace is not usable.
    pub const INVALID_NETNS: u32 = 8;
    /// A passing condition; the runtime should try the same call again.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: the plugin cannot serve ADD requests.
    pub const PLUGIN_NOT_AVAILABLE: u32 = 50;
    /// STATUS: as 50, and running containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// First code that is a plugin's own.
    pub const FIRST_OWN: u32 = 100;
    /// What plugins built with the reference library say when they know nothing better.
    pub const INTERNAL: u32 = 999;
}

/// An error as it is printed on standard output (specification, section 5, Error).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct CniError {
    /// The version of the configuration, where it is known.
    #[serde(
        rename = "cniVersion",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub cni_version: Option<String>,
    /// One of [`code`], or a plugin's own from 100 on.
    #[serde(default)]
    pub code: u32,
    /// One line.
    #[serde(default)]
    pub msg: String,
    /// Longer text, may be empty.
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

    /// The same error with details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The same error in the version of the configuration.
    #[must_use]
    pub fn with_version(mut self, version: impl fmt::Display) -> Self {
        self.cni_version = Some(version.to_string()).filter(|version| !version.is_empty());
        self
    }

    /// Reads what a plugin printed. `None` when it is no error object: no JSON, or neither a code
    /// nor a message in it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let error: Self = serde_json::from_slice(bytes).ok()?;
        (error.code != 0 || !error.msg.is_empty()).then_some(error)
    }

    /// The JSON object, indented as plugins print it.
    pub fn to_json(&self) -> String {
        crate::json::to_string_pretty(self).expect("strings and a number are JSON")
    }
}

/// Message and details on one line; the code is for machines.
impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}
