//! Why a policy's files are refused.

use std::path::PathBuf;

/// Why a policy's files are refused. Each names the file, and the key where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A directory or file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any sensible one.
    #[error("{path} has {size} bytes, at most {limit} are read", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A configuration is not a JSON object: the source says why, with line and column.
    #[error("{path}", path = path.display())]
    Syntax {
        /// The configuration.
        path: PathBuf,
        /// What is wrong and where.
        source: cni_types::json::Cause,
    },
    /// A key has a value that makes no sense.
    #[error("{path}: {key}: {reason}", path = path.display())]
    Value {
        /// The configuration.
        path: PathBuf,
        /// The key, with dots between levels.
        key: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The name of a file is no name of a policy.
    #[error("{path}: a policy's name consists of letters, digits, '.', '_' and '-' and starts with a letter or digit", path = path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two configurations have one name.
    #[error("{first} and {second} configure the same policy", first = first.display(), second = second.display())]
    Twice {
        /// The one beside the module.
        first: PathBuf,
        /// The one in the second directory.
        second: PathBuf,
    },
}
