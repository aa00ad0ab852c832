//! Builds standard output: a result, the supported versions, or an error object. The only place
//! that maps errors to CNI codes.

use std::error::Error;

use cni_types::args::Command;
use cni_types::error::{CniError, code};
use cni_types::result::{self, CniResult};
use cni_types::version::{self, Version, VersionInfo};
use serde_json::value::RawValue;
use shim_api::{exchange, http};

use crate::{call, conf, defer, forward};

/// Why the call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Call(#[from] call::Error),
    #[error(transparent)]
    Conf(#[from] conf::Error),
    #[error("{source}")]
    Forward {
        command: Command,
        source: forward::Error,
    },
    #[error("{source}, and the DEL cannot be left to a later one: {why}")]
    NotDeferred {
        source: forward::Error,
        why: defer::Error,
    },
    #[error("the daemon answered ADD without a result")]
    NoResult,
    #[error("the daemon's result cannot be printed in version {version}")]
    Result {
        version: Version,
        source: result::Error,
    },
}

/// The response to VERSION, in the requested version.
pub(crate) fn versions(asked: Version) -> String {
    let mut info = VersionInfo::all();
    info.cni_version = asked.to_string();
    let info = serde_json::to_string(&info).expect("strings are JSON");
    format!("{info}\n")
}

/// The result of ADD in `version`.
pub(crate) fn result(raw: Option<Box<RawValue>>, version: Version) -> Result<String, Failure> {
    let raw = raw.ok_or(Failure::NoResult)?;
    CniResult::parse(raw.get().as_bytes(), Version::LATEST.into())
        .and_then(|result| result.to_json(version))
        .map_err(|source| Failure::Result { version, source })
}

impl Failure {
    /// The error object to print.
    pub(crate) fn to_cni_error(&self) -> CniError {
        match self {
            Self::Forward {
                source: forward::Error::Answered(error),
                ..
            } => error.clone(),
            _ => CniError::new(self.code(), self.to_string()).with_details(self.details()),
        }
    }

    fn code(&self) -> u32 {
        match self {
            Self::Call(error) => match error {
                call::Error::Environment { .. } => code::INVALID_ENVIRONMENT,
                call::Error::Read(_) => code::IO_FAILURE,
                call::Error::ConfigTooLarge => code::INVALID_CONFIG,
                call::Error::OwnNetns { .. } => code::INVALID_NETNS,
            },
            Self::Conf(error) => match error {
                conf::Error::Empty | conf::Error::Json(_) => code::DECODING_FAILURE,
                conf::Error::Version(_) | conf::Error::CommandTooNew { .. } => {
                    code::INCOMPATIBLE_VERSION
                }
                conf::Error::NameMissing
                | conf::Error::Name(_)
                | conf::Error::Type { .. }
                | conf::Error::UnknownKey { .. } => code::INVALID_CONFIG,
            },
            // STATUS asks whether ADD would work; whatever the failure, it would not.
            Self::Forward {
                command: Command::Status,
                ..
            } => code::PLUGIN_NOT_AVAILABLE,
            Self::Forward { source, .. } => match source {
                forward::Error::Connect { .. } => code::IO_FAILURE,
                forward::Error::Exchange {
                    source: exchange::Error::Answer(error),
                    ..
                } if !matches!(error, http::Error::Truncated { .. }) => code::DECODING_FAILURE,
                forward::Error::Unreachable { .. }
                | forward::Error::Exchange { .. }
                | forward::Error::Answered(_) => code::TRY_AGAIN_LATER,
            },
            Self::NotDeferred { .. } => code::TRY_AGAIN_LATER,
            Self::NoResult | Self::Result { .. } => code::DECODING_FAILURE,
        }
    }

    /// The error chain, and hints for readers of the pod's events.
    fn details(&self) -> String {
        match self {
            // Verbatim from the CNI library for Go: tools match on it.
            Self::Conf(conf::Error::Version(error)) => {
                let config = match error {
                    version::Error::Malformed { version }
                    | version::Error::Unsupported { version, .. } => version,
                };
                let supported = Version::ALL.map(|version| format!("{:?}", version.as_str()));
                format!(
                    "config is {config:?}, plugin supports [{}]",
                    supported.join(" ")
                )
            }
            Self::Conf(conf::Error::CommandTooNew { version, .. }) => {
                format!("cniVersion is {version}")
            }
            Self::Forward {
                command,
                source: forward::Error::Unreachable { waited, source, .. },
            } => {
                let waited = match command {
                    Command::Add => format!("waited {} ms; ", waited.as_millis()),
                    _ => String::new(),
                };
                format!(
                    "{waited}{}; is cnidaria-daemon running on this node?",
                    causes(source)
                )
            }
            Self::Forward { source, .. } | Self::NotDeferred { source, .. } => {
                source.source().map(causes).unwrap_or_default()
            }
            _ => self.source().map(causes).unwrap_or_default(),
        }
    }
}

/// `error` and its sources on one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
