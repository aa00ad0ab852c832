//! Why a run ends early.

use std::io;
use std::path::PathBuf;

/// Why nothing, or no more, can be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory.
    #[error("{path}")]
    File {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that cannot be executed.
    #[error("{program} cannot be executed")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something that was to succeed did not: what is measured then is worth nothing.
    #[error("{what} failed: {said}")]
    Failed {
        /// What was done.
        what: String,
        /// What came back.
        said: String,
    },
    /// Nobody answers on the socket.
    #[error("{socket}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: shim_api::exchange::ConnectError,
    },
    /// The daemon broke the connection off.
    #[error("{socket}")]
    Exchange {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: shim_api::exchange::Error,
    },
    /// A binary is missing, or the like.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A stored run is malformed.
    #[error("{path}")]
    Stored {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        source: serde_json::Error,
    },
}

impl Error {
    /// Names the path that an operation on a file was about.
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
