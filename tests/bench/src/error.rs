//! Why a run ends early.

use std::io;
use std::path::PathBuf;

/// Why the measurement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory cannot be accessed.
    #[error("{path}")]
    File {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A program cannot be executed.
    #[error("{program} cannot be executed")]
    Start {
        /// Name or path.
        program: String,
        source: io::Error,
    },
    /// A call that must succeed failed, which makes its measurement worthless.
    #[error("{what} failed: {said}")]
    Failed {
        /// The attempted operation.
        what: String,
        /// The response.
        said: String,
    },
    /// The socket does not accept connections.
    #[error("{socket}")]
    Connect {
        socket: PathBuf,
        source: shim_api::exchange::ConnectError,
    },
    /// The exchange on the socket failed.
    #[error("{socket}")]
    Exchange {
        socket: PathBuf,
        source: shim_api::exchange::Error,
    },
    /// The node's set-up failed, for example because a binary is missing.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A stored run is malformed.
    #[error("{path}")]
    Stored {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl Error {
    /// Adds the path to a file operation's error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// This error and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
