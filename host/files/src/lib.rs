//! Files in directories that others may write to: bounded reads of regular files, atomic
//! replacement, private directories, and files beneath a directory.
//!
//! All functions block for as long as the disk does.

#![warn(missing_docs)]

pub mod openat;
mod private;
mod read;
mod replace;

pub use private::{make_private_dir, require_private};
pub use read::{Links, open, read, read_with_metadata};
pub use replace::{Replace, sweep};

/// Whether an error says that a file does not exist, or its directory does not.
pub fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}
