//! Failures of the runtime itself, as opposed to what is tested on it.

use std::io;
use std::path::PathBuf;

/// A prerequisite of every case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node failed.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A file or directory cannot be read or written.
    #[error("{path}")]
    File {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A program is missing, or cannot be started.
    #[error("{program} cannot be started: `tests/setup/install test` installs it")]
    Start {
        /// The program's name.
        program: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// containerd does not become ready.
    #[error("containerd {problem}; its log ends with:\n{log}")]
    Containerd {
        /// What happened.
        problem: String,
        /// The last lines of its log.
        log: String,
    },
    /// podman failed.
    #[error("podman {command}: {message}")]
    Podman {
        /// Its arguments.
        command: String,
        /// Its error output.
        message: String,
    },
    /// Connecting to containerd failed.
    #[error("{method}: connection")]
    Connection {
        method: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// HTTP/2 failed.
    #[error("{method}: HTTP/2")]
    Http {
        method: &'static str,
        /// The protocol's error.
        source: h2::Error,
    },
    /// containerd rejected the call.
    #[error("{method}: {message} (gRPC status {status})")]
    Refused {
        method: &'static str,
        /// The gRPC status code.
        status: String,
        /// The error message.
        message: String,
    },
    /// The response is malformed.
    #[error("{method}: the answer cannot be understood: {reason}")]
    Answer {
        method: &'static str,
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
