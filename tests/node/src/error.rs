//! Failures of the node itself, as opposed to what is tested on it.

use std::io;
use std::path::PathBuf;

/// A prerequisite of every case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read or written.
    #[error("{path}")]
    File {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("{program} cannot be started")]
    Start {
        /// Name or path.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// A program failed.
    #[error("{command} failed: {stderr}")]
    Failed {
        /// The whole command line.
        command: String,
        /// Its standard error.
        stderr: String,
    },
    /// Text is not JSON.
    #[error("{what} is not JSON: {text}")]
    Json {
        /// Where the text came from.
        what: String,
        text: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A binary or module of this project was not built.
    #[error("{path} is missing: `make test` and `make demo` build it")]
    NotBuilt {
        /// Its expected path.
        path: PathBuf,
    },
    /// A program or library that the tests need is not installed.
    #[error("{what} is missing: `make test` installs Debian's package {package}")]
    NotInstalled {
        /// What is missing.
        what: &'static str,
        /// The Debian package that provides it.
        package: &'static str,
    },
    /// The daemon exited or does not respond.
    #[error("cnidaria-daemon {problem}; its log ends with:\n{log}")]
    Daemon {
        /// What happened.
        problem: String,
        /// The last lines of its log.
        log: String,
    },
    /// The daemon is already running.
    #[error("cnidaria-daemon runs already")]
    Running,
    /// The daemon is not running.
    #[error("cnidaria-daemon does not run")]
    NoDaemon,
}

impl Error {
    /// Adds the path to a file operation's error.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// This error and its causes on one line.
    pub fn chain(&self) -> String {
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
