//! Why a run ends without a report.

use std::path::PathBuf;

/// What was wrong, or why the run itself failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something was lost or wrong.
    #[error("{what}; the daemon's log ends with:\n{log}")]
    Wrong {
        /// What.
        what: String,
        /// The last lines of the daemon's log.
        log: String,
    },
    /// The node failed.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A file of the run cannot be written or read.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The versions lack one.
    #[error("no version to install")]
    NoVersion,
    /// A worker panicked.
    #[error("a worker panicked")]
    Panic,
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }

    /// The error with its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// The last lines of a log.
pub(crate) fn end_of(log: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..);
    last.unwrap_or_default().join("\n")
}
