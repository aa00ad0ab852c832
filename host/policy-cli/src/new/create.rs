//! Writes a project without overwriting anything.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Error;

/// Writes the files below `dir`, which is created if it is missing. All of them, or none.
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
    // A link that leads nowhere is not a directory either.
    if dir.symlink_metadata().is_ok() && !dir.is_dir() {
        return Err(Error::NotDirectory {
            path: dir.to_owned(),
        });
    }
    let mut made = Vec::new();
    let written = files
        .iter()
        .try_for_each(|(path, text)| write(&dir.join(path), text, &mut made));
    if written.is_err() {
        // The last first, so that directories are empty. What cannot be removed stays.
        for path in made.iter().rev() {
            let _stays = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }
    written
}

/// Writes one file; `made` gets what did not exist before.
fn write(path: &Path, text: &str, made: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists {
            path: path.to_owned(),
        },
        _ => Error::Write {
            path: path.to_owned(),
            source,
        },
    };
    let missing = path.ancestors().skip(1).take_while(|dir| {
        let is_named = !dir.as_os_str().is_empty();
        is_named && !dir.exists()
    });
    let missing: Vec<_> = missing.map(Path::to_owned).collect();
    for dir in missing.into_iter().rev() {
        fs::create_dir(&dir).map_err(failed)?;
        made.push(dir);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    made.push(path.to_owned());
    file.write_all(text.as_bytes()).map_err(failed)
}
