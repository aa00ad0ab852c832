//! Asks the daemon: one request over its socket.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shim_api::exchange::{self, ConnectError};
use shim_api::{endpoint, http, response};

/// The daemon answers from memory; what takes longer is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests for a container are served one after the other, and each has its deadline.
const TURN_TIMEOUT: Duration = Duration::from_secs(150);

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
    /// The daemon has served the request, and says why it failed.
    #[error("{0}")]
    Failed(String),
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
    ask(socket_dir, path, &http::get(path), ANSWER_TIMEOUT)
}

/// The same for a request that changes something. It may wait for requests of the same container.
pub(crate) fn post<T: DeserializeOwned>(
    socket_dir: &Path,
    path: &'static str,
    body: &impl Serialize,
) -> Result<T, Error> {
    let body = serde_json::to_vec(body).expect("strings into memory cannot fail");
    ask(socket_dir, path, &http::post(path, &body), TURN_TIMEOUT)
}

fn ask<T: DeserializeOwned>(
    socket_dir: &Path,
    path: &'static str,
    request: &[u8],
    patience: Duration,
) -> Result<T, Error> {
    let socket = endpoint::socket_path(socket_dir);
    let stream = match exchange::connect(&socket) {
        Ok(stream) => stream,
        Err(source @ ConnectError::Unreachable(_)) => return Err(Error::Away { socket, source }),
        Err(source) => return Err(Error::Connect { socket, source }),
    };
    let deadline = Instant::now() + patience;
    let answer = exchange::exchange(&stream, request, response::MAX_BODY_BYTES, deadline);
    match answer {
        Err(source) => Err(Error::Exchange { socket, source }),
        Ok(answer) if answer.status == 404 => Err(Error::NotFound { socket, path }),
        Ok(answer) if answer.status == response::STATUS_FAILED => {
            let said = response::parse(answer.status, &answer.body);
            let text = said.err().map(|error| error.to_string());
            Err(Error::Failed(text.unwrap_or_default()))
        }
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
