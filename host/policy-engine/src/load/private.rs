//! Directories and files whose content the daemon executes or trusts: only root or this user may
//! write them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a directory or file is not private.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be created or inspected.
    #[error("cannot use {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Another user could have written it.
    #[error("{path} is not safe: {reason}", path = path.display())]
    Unsafe { path: PathBuf, reason: String },
}

/// Creates a directory, or checks that only this user can access it.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    files::make_private_dir(dir).map_err(|source| Error::Read {
        path: dir.to_owned(),
        source,
    })?;
    check(dir, &read_metadata(dir)?, 0o700)
}

/// Checks that only this user can access a file.
pub(crate) fn check_file(path: &Path) -> Result<(), Error> {
    check(path, &read_metadata(path)?, 0o600)
}

fn read_metadata(path: &Path) -> Result<Metadata, Error> {
    fs::symlink_metadata(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Checks that only root or this user can write what would be executed.
fn check(path: &Path, metadata: &Metadata, mode: u32) -> Result<(), Error> {
    let refused = |reason| Error::Unsafe {
        path: path.to_owned(),
        reason,
    };
    let user = rustix::process::geteuid().as_raw();
    if metadata.file_type().is_symlink() {
        return Err(refused("it is a symbolic link".to_owned()));
    }
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(refused(format!(
            "it belongs to user {}, not to root or {user}",
            metadata.uid()
        )));
    }
    let actual = metadata.permissions().mode() & 0o777;
    if actual & !mode != 0 {
        return Err(refused(format!(
            "its mode is {actual:o}, at most {mode:o} is safe"
        )));
    }
    Ok(())
}
