//! The ledger's directories, while no daemon runs.

use std::io;
use std::path::{Path, PathBuf};

use config::daemon::DaemonConfig;
use files::Links;
use serde::Deserialize;

/// The file in which a daemon remembers further directories.
const DIRECTORIES: &str = ".directories";
const MAX_BYTES: u64 = 1 << 20;
/// The daemon's own subdirectories that hold records.
const RECORDS: [&str; 3] = [".undo", shim_api::deferred::DIR, "results"];

#[derive(Debug, Deserialize)]
struct Remembered {
    directories: Vec<Directory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    cni_dir: PathBuf,
}

/// Why the ledger cannot be read or removed.
#[derive(Debug, thiserror::Error)]
#[error("ledger: {}", path.display())]
pub(super) struct Error {
    path: PathBuf,
    source: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error {
        path: path.to_owned(),
        source,
    }
}

/// Whether any directory has records.
pub(super) fn is_used(config: &DaemonConfig) -> Result<bool, Error> {
    for dir in directories(config)? {
        if is_used_dir(&dir).map_err(at(&dir))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the directories that have no records, with what daemons keep there for themselves.
pub(super) fn remove(config: &DaemonConfig) -> Result<(), Error> {
    let mut directories = directories(config)?;
    // The daemon's own last: it names the others.
    directories.reverse();
    for dir in directories {
        if is_used_dir(&dir).map_err(at(&dir))? {
            continue;
        }
        for own in [
            ".undo",
            shim_api::deferred::DIR,
            ".forgotten",
            ".damaged",
            DIRECTORIES,
            ".directories.copy",
            "results",
        ] {
            let path = dir.join(own);
            let removed = match path.symlink_metadata() {
                Err(error) if files::is_absent(&error) => continue,
                Err(error) => Err(error),
                Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
            };
            removed.map_err(at(&path))?;
        }
        // Other programs' files stay, and so does the directory.
        let _ = std::fs::remove_dir(&dir);
    }
    Ok(())
}

/// The daemon's own directory, and those that it remembers.
fn directories(config: &DaemonConfig) -> Result<Vec<PathBuf>, Error> {
    let path = config.cni_dir.join(DIRECTORIES);
    let mut directories = vec![config.cni_dir.clone()];
    match files::read(&path, Links::Refuse, MAX_BYTES) {
        Ok(text) => {
            let remembered: Remembered =
                serde_json::from_slice(&text).map_err(|error| at(&path)(error.into()))?;
            let more = remembered.directories.into_iter().map(|one| one.cni_dir);
            directories.extend(more.filter(|dir| dir.is_absolute() && *dir != config.cni_dir));
        }
        Err(error) if files::is_absent(&error) => {}
        Err(error) => return Err(at(&path)(error)),
    }
    Ok(directories)
}

fn is_used_dir(dir: &Path) -> io::Result<bool> {
    for records in RECORDS {
        if has_files(&dir.join(records), |_| true)? {
            return Ok(true);
        }
    }
    has_files(dir, |name| name != "results")
}

/// Whether a directory has a file that counts and is neither unfinished nor our own.
fn has_files(dir: &Path, counts: impl Fn(&str) -> bool) -> io::Result<bool> {
    let found = match std::fs::read_dir(dir) {
        Err(error) if files::is_absent(&error) => return Ok(false),
        found => found?,
    };
    for file in found {
        let name = file?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && counts(&name) {
            return Ok(true);
        }
    }
    Ok(false)
}
