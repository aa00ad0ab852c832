//! Sends one request to the daemon over its socket.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shim_api::exchange::{self, ConnectError};
use shim_api::{endpoint, http, response};

/// The daemon responds from memory; anything slower is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests for one container are serialised, and each has its deadline.
const TURN_TIMEOUT: Duration = Duration::from_secs(150);

/// Why the daemon did not respond.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No daemon serves the socket.
    #[error("the daemon does not answer at {}", socket.display())]
    Away {
        socket: PathBuf,
        source: ConnectError,
    },
    /// The socket is unusable.
    #[error("cannot connect to the daemon at {}", socket.display())]
    Connect {
        socket: PathBuf,
        source: ConnectError,
    },
    /// The connection broke, or the response is not HTTP.
    #[error("no answer from the daemon at {}", socket.display())]
    Exchange {
        socket: PathBuf,
        source: exchange::Error,
    },
    /// The server does not know the path; most likely it is Multus' daemon.
    #[error("the daemon at {} does not know {path}: is it Cnidaria's?", socket.display())]
    NotFound { socket: PathBuf, path: &'static str },
    /// The daemon does not accept requests: it finishes its last ones before it ends.
    #[error("the daemon at {} is not ready: it is shutting down", socket.display())]
    NotReady { socket: PathBuf },
    /// The daemon processed the request and reports a failure.
    #[error("{0}")]
    Failed(String),
    /// Any other status than `200`.
    #[error("the daemon at {} refused with HTTP status {status}: {text}", socket.display())]
    Refused {
        socket: PathBuf,
        status: u16,
        text: String,
    },
    /// The body does not have the expected JSON form.
    #[error("the daemon at {} answered something else than was asked", socket.display())]
    Body {
        socket: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
}

/// Sends a `GET` of `path` to the daemon in `socket_dir`.
///
/// # Errors
/// [`Error`].
pub fn get<T: DeserializeOwned>(socket_dir: &Path, path: &'static str) -> Result<T, Error> {
    ask(socket_dir, path, &http::get(path), ANSWER_TIMEOUT)
}

/// Sends a request that changes something; it may wait for other requests of the same container.
///
/// # Errors
/// [`Error`].
pub fn post<T: DeserializeOwned>(
    socket_dir: &Path,
    path: &'static str,
    body: &impl Serialize,
) -> Result<T, Error> {
    let body = serde_json::to_vec(body).expect("strings into memory cannot fail");
    ask(socket_dir, path, &http::post(path, &body), TURN_TIMEOUT)
}

/// Sends a `GET` of `path` whose response is text.
///
/// # Errors
/// [`Error`].
pub fn get_text(socket_dir: &Path, path: &'static str) -> Result<String, Error> {
    let body = send(socket_dir, path, &http::get(path), ANSWER_TIMEOUT)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Sends a `GET` of `path` whose response has no body.
///
/// # Errors
/// [`Error`] unless the daemon answers `200`.
pub fn probe(socket_dir: &Path, path: &'static str) -> Result<(), Error> {
    send(socket_dir, path, &http::get(path), ANSWER_TIMEOUT).map(drop)
}

fn ask<T: DeserializeOwned>(
    socket_dir: &Path,
    path: &'static str,
    request: &[u8],
    patience: Duration,
) -> Result<T, Error> {
    let body = send(socket_dir, path, request, patience)?;
    serde_json::from_slice(&body).map_err(|source| Error::Body {
        socket: endpoint::socket_path(socket_dir),
        source,
    })
}

/// Sends a request and returns the body of its response.
fn send(
    socket_dir: &Path,
    path: &'static str,
    request: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, Error> {
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
        Ok(answer) if answer.status == 503 => Err(Error::NotReady { socket }),
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
        Ok(answer) => Ok(answer.body),
    }
}

impl Error {
    /// What the user can do about the error.
    pub fn advice(&self) -> Option<&'static str> {
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
