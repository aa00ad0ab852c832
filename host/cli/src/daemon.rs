//! Asks the daemon: one `GET` over its socket.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use shim_api::exchange::{self, ConnectError};
use shim_api::{endpoint, http, response};

/// The daemon answers from memory; what takes longer is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Nobody serves the socket.
    #[error("the daemon does not answer at {}", socket.display())]
    Away {
        socket: PathBuf,
        source: ConnectError,
    },
    /// The socket cannot be used.
    #[error("cannot connect to the daemon at {}", socket.display())]
    Connect {
        socket: PathBuf,
        source: ConnectError,
    },
    /// The connection broke, or the answer is no HTTP.
    #[error("no answer from the daemon at {}", socket.display())]
    Exchange {
        socket: PathBuf,
        source: exchange::Error,
    },
    /// Whoever serves the socket does not know the path: Multus' own daemon, most likely.
    #[error("the daemon at {} does not know {path}: is it Cnidaria's?", socket.display())]
    NotFound { socket: PathBuf, path: &'static str },
    /// Any other status than `200`.
    #[error("the daemon at {} refused with HTTP status {status}: {text}", socket.display())]
    Refused {
        socket: PathBuf,
        status: u16,
        text: String,
    },
    /// The body is not the expected JSON.
    #[error("the daemon at {} answered something else than was asked", socket.display())]
    Body {
        socket: PathBuf,
        source: serde_json::Error,
    },
}

/// What the daemon in `socket_dir` answers on `path`.
pub(crate) fn get<T: DeserializeOwned>(socket_dir: &Path, path: &'static str) -> Result<T, Error> {
    let socket = endpoint::socket_path(socket_dir);
    let stream = match exchange::connect(&socket) {
        Ok(stream) => stream,
        Err(source @ ConnectError::Unreachable(_)) => return Err(Error::Away { socket, source }),
        Err(source) => return Err(Error::Connect { socket, source }),
    };
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let answer = exchange::exchange(
        &stream,
        &http::get(path),
        response::MAX_BODY_BYTES,
        deadline,
    );
    match answer {
        Err(source) => Err(Error::Exchange { socket, source }),
        Ok(answer) if answer.status == 404 => Err(Error::NotFound { socket, path }),
        Ok(answer) if answer.status != response::STATUS_OK => Err(Error::Refused {
            socket,
            status: answer.status,
            text: String::from_utf8_lossy(answer.body.trim_ascii()).into_owned(),
        }),
        Ok(answer) => {
            serde_json::from_slice(&answer.body).map_err(|source| Error::Body { socket, source })
        }
    }
}

impl Error {
    /// What a person can do about it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Away { .. } => Some(
                "Is cnidaria-daemon running on this node? If its configuration has another socketDir, \
                 give it as --socket-dir.",
            ),
            Self::Connect {
                source: ConnectError::Failed(error),
                ..
            } if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("Only root and the daemon's own user may ask it.")
            }
            Self::Connect {
                source: ConnectError::Untrusted { .. },
                ..
            } => Some("Find out who listens there: the daemon runs as root, or as you."),
            _ => None,
        }
    }
}
