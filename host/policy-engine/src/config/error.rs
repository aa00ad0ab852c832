//! Errors in a policy's files.

use std::path::PathBuf;

/// A place in a file; both count from 1, columns in characters.
#[cfg_attr(
    not(feature = "compile"),
    expect(unreachable_pub, reason = "only trials show it to other crates")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// The place of a byte of a text.
    #[cfg_attr(
        not(feature = "compile"),
        expect(unreachable_pub, reason = "only trials show it to other crates")
    )]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a policy's files. Each variant names the file, and the key if there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A directory or file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A file exceeds the size limit.
    #[error("{path} has {size} bytes, at most {limit} are read", path = path.display())]
    TooLarge {
        path: PathBuf,
        size: u64,
        limit: u64,
    },
    /// A directory has too many files or policies.
    #[error("{dir} has more than {limit} {what}; remove some", dir = dir.display())]
    TooMany {
        dir: PathBuf,
        /// Files or policies.
        what: &'static str,
        limit: usize,
    },
    /// A configuration is not a JSON object; the source says why, with line and column.
    #[error("{path}", path = path.display())]
    Syntax {
        path: PathBuf,
        source: cni_types::json::Cause,
    },
    /// A key has an invalid value.
    #[error("{path}: {key}: {reason}", path = path.display())]
    Value {
        path: PathBuf,
        /// The key, with dots between levels.
        key: String,
        /// What is wrong, and what was expected.
        reason: String,
        /// Where the value is, or the key if it is unknown.
        at: Position,
    },
    /// A file's name is not a valid policy name.
    #[error("{path}: a policy's name consists of letters, digits, '.', '_' and '-' and starts with a letter or digit", path = path.display())]
    Name { path: PathBuf },
    /// Two configurations have the same name.
    #[error("{first} and {second} configure the same policy", first = first.display(), second = second.display())]
    Twice {
        /// The one beside the module.
        first: PathBuf,
        /// The one in the second directory.
        second: PathBuf,
    },
}
