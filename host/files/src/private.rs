//! Directories that only this user can write to.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

/// Creates a directory, and those above it, with mode 0700. An existing one keeps its mode.
///
/// # Errors
/// Those of the system.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Requires that `dir` is a directory of this user that others cannot write to, and not a link.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] if it is not; those of the system.
pub fn require_private(dir: &Path) -> io::Result<()> {
    let metadata = dir.symlink_metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.is_dir() && is_own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let reason = "not a directory that only this user can write to";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_shared_directory_or_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("a/b");
        make_private_dir(&private).unwrap();
        require_private(&private).unwrap();
        let link = dir.path().join("link");
        symlink(&private, &link).unwrap();
        assert!(require_private(&link).is_err());
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(require_private(&private).is_err());
    }
}
