//! The parameters of one CNI call: the command, identifiers that are validated before they become
//! part of a path, and `CNI_ARGS`.

mod cni_args;
mod name;
mod parameters;

use std::fmt;
use std::str::FromStr;

pub use cni_args::CniArgs;
pub use name::{ContainerId, IfName, NetworkName, PluginType};
pub use parameters::{EnvironmentError, Parameters};

use serde::{Deserialize, Serialize};

use crate::clip::clip;

/// The operation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// Attach the container to the network.
    Add,
    /// Detach it; must succeed when nothing is attached.
    Del,
    /// Check that the attachment is as ADD left it.
    Check,
    /// Remove the resources of attachments that are no longer valid.
    Gc,
    /// Report whether ADD would work.
    Status,
    /// Report the supported versions.
    Version,
}

impl Command {
    /// The value of `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Command {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [
            Self::Add,
            Self::Del,
            Self::Check,
            Self::Gc,
            Self::Status,
            Self::Version,
        ]
        .into_iter()
        .find(|command| command.as_str() == text)
        .ok_or_else(|| Error::Command {
            command: clip(text),
        })
    }
}

/// Why a parameter was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The command is unknown.
    #[error("unknown CNI_COMMAND: {command}")]
    Command {
        /// The rejected text.
        command: String,
    },
    /// A name or identifier is empty.
    #[error("{what} is empty")]
    Empty {
        /// Kind of name, such as `interface name`.
        what: &'static str,
    },
    /// A name or identifier is too long.
    #[error("{what} {value:?} has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Kind of name.
        what: &'static str,
        /// The rejected text, truncated.
        value: String,
        /// Its length.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A name or identifier contains forbidden characters, or is `.` or `..`.
    #[error("{what} {value:?} is invalid: {rule}")]
    Characters {
        /// Kind of name.
        what: &'static str,
        /// The rejected text.
        value: String,
        /// The naming rule.
        rule: &'static str,
    },
    /// An element of `CNI_ARGS` is not of the form `KEY=VALUE`.
    #[error("CNI_ARGS: {pair:?} is not of the form KEY=VALUE")]
    Pair {
        /// The rejected element.
        pair: String,
    },
    /// A key or value contains a separator and cannot be written to `CNI_ARGS`.
    #[error("CNI_ARGS: {key:?} or its value {value:?} has a character that separates elements")]
    Separator {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}
