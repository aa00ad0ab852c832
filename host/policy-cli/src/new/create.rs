//! Writes a project without overwriting anything.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::Error;

/// Writes the files below `dir`, which is created if it is missing.
///
/// # Errors
/// [`Error::Exists`] before anything is written if one of the files exists.
pub(super) fn create(dir: &Path, files: &[(String, String)]) -> Result<(), Error> {
    let existing = files.iter().map(|(path, _)| dir.join(path));
    // Dangling links exist too.
    if let Some(path) = existing
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        return Err(Error::Exists { path });
    }
    for (path, text) in files {
        let path = dir.join(path);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::Write {
                path: path.clone(),
                source,
            },
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
