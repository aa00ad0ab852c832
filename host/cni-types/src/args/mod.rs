//! The parameters of one CNI call: the command, identifiers that are checked before they become
//! part of a path, and `CNI_ARGS`.

mod cni_args;
mod name;
mod parameters;

use std::fmt;
use std::str::FromStr;

pub use cni_args::CniArgs;
pub use name::{ContainerId, IfName, NetworkName, PluginType};
pub use parameters::{EnvironmentError, Parameters};

use crate::clip::clip;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach the container to the network.
    Add,
    /// Detach it; must succeed when there is nothing to detach.
    Del,
    /// Check that the attachment is as ADD left it.
    Check,
    /// Remove what belongs to attachments that are no longer valid.
    Gc,
    /// Say whether ADD would work.
    Status,
    /// Say which versions are supported.
    Version,
}

impl Command {
    /// As `CNI_COMMAND` has it.
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

/// Why a parameter was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one of [`Command`].
    #[error("unknown CNI_COMMAND: {command}")]
    Command {
        /// The refused text.
        command: String,
    },
    /// A name or identifier is empty.
    #[error("{what} is empty")]
    Empty {
        /// What it was to be.
        what: &'static str,
    },
    /// A name or identifier is too long.
    #[error("{what} {value:?} has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// What it was to be.
        what: &'static str,
        /// The refused text, cut off.
        value: String,
        /// Its length.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A name or identifier has characters that it must not have, or is `.` or `..`.
    #[error("{what} {value:?} is invalid: {rule}")]
    Characters {
        /// What it was to be.
        what: &'static str,
        /// The refused text.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// An element of `CNI_ARGS` is not of the form `KEY=VALUE`.
    #[error("CNI_ARGS: {pair:?} is not of the form KEY=VALUE")]
    Pair {
        /// The refused element.
        pair: String,
    },
    /// A key or value cannot be written into `CNI_ARGS`, where `;` separates elements.
    #[error("CNI_ARGS: {key:?} or its value {value:?} has a character that separates elements")]
    Separator {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}
