//! What can go wrong with the runtime, as opposed to what is tested on it.

use std::io;
use std::path::PathBuf;

/// Something that every case needs does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node does not work.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A file or directory cannot be read or written.
    #[error("{path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program is missing, or cannot be started.
    #[error("{program} cannot be started: `tests/setup/install test` installs it")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// containerd does not become ready.
    #[error("containerd {problem}; its log ends with:\n{log}")]
    Containerd {
        /// What it did.
        problem: String,
        /// The last lines of its log.
        log: String,
    },
    /// podman refuses.
    #[error("podman {command}: {message}")]
    Podman {
        /// Its arguments.
        command: String,
        /// What it says.
        message: String,
    },
    /// The connection to containerd.
    #[error("{method}: connection")]
    Connection {
        /// Which call.
        method: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The transport below the call.
    #[error("{method}: HTTP/2")]
    Http {
        /// Which call.
        method: &'static str,
        /// What went wrong.
        source: h2::Error,
    },
    /// containerd refuses.
    #[error("{method}: {message} (gRPC status {status})")]
    Refused {
        /// Which call.
        method: &'static str,
        /// The number of the status.
        status: String,
        /// What it says.
        message: String,
    },
    /// The answer is none.
    #[error("{method}: the answer cannot be understood: {reason}")]
    Answer {
        /// Which call.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
