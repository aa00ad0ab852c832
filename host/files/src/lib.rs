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

/// Whether an error says that a file does not exist: it is missing, or its directory is, or in the
/// place of its directory stands something else, such as a link to itself.
pub fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let is_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    is_loop || matches!(error.kind(), NotFound | NotADirectory)
}
