//! Bodies of [`crate::endpoint::LOG`]: how much the daemon logs.
//!
//! Levels are those of the key `logLevel`; modules are the targets of the log's lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the daemon logs now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLevels {
    /// The level of the configuration, which applies after a restart.
    pub configured: String,
    /// The level of all modules that are not listed.
    pub level: String,
    /// Levels of modules, and of the modules below them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, String>,
}

/// Replaces everything that was changed before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogChange {
    /// The level of all modules that are not listed; `None` for that of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Levels of modules, and of the modules below them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, String>,
}
