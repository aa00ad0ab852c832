//! What can go wrong on the node itself, as opposed to what is tested on it.

use std::io;
use std::path::PathBuf;

/// Something that every case needs does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read or written.
    #[error("{path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("{program} cannot be started")]
    Start {
        /// Name or path.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{command} failed: {stderr}")]
    Failed {
        /// The whole command line.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// Text that should be JSON is none.
    #[error("{what} is no JSON: {text}")]
    Json {
        /// Where it came from.
        what: String,
        /// The text.
        text: String,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// A binary or a module of this project was not built.
    #[error("{path} is missing: `make test` and `make demo` build it")]
    NotBuilt {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something that tests use is not on this machine.
    #[error("{what} is missing: `make test` installs Debian's package {package}")]
    NotInstalled {
        /// What is missing.
        what: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The daemon ended, or does not answer.
    #[error("cnidaria-daemon {problem}; its log ends with:\n{log}")]
    Daemon {
        /// What it did.
        problem: String,
        /// The last lines of its log.
        log: String,
    },
    /// The daemon was to be started while it runs.
    #[error("cnidaria-daemon runs already")]
    Running,
    /// The daemon was asked for something while it does not run.
    #[error("cnidaria-daemon does not run")]
    NoDaemon,
}

impl Error {
    /// Names the path that an operation on a file was about.
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
