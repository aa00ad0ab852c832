//! The directories that runtimes' confs name instead of the daemon's own: a small file in the
//! daemon's own directory, so that the next daemon finds what is recorded in them.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durability::Disk;
use super::{Files, UNDO_DIR, blocking, deferred, failed, file, results};
use cnidaria_core::ports::{Directory, LedgerError};
use config::own::Durability;

/// Name of the file. Container ids never begin with a dot.
const NAME: &str = ".directories";

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    directories: Vec<Directory>,
}

/// The file in a daemon's own directory.
pub(super) fn path(own_dir: &Path) -> PathBuf {
    own_dir.join(NAME)
}

/// The remembered directories; none if there is no file.
///
/// # Errors
/// [`LedgerError`] if the file cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<Directory>, LedgerError> {
    let text = match file::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(failed("read", path))?,
    };
    let remembered: Remembered =
        serde_json::from_slice(&text).map_err(|error| LedgerError::Damaged {
            path: path.to_owned(),
            reason: cni_types::json::Cause::from(error).to_string(),
        })?;
    let mut directories = remembered.directories;
    // A relative path would depend on where the daemon was started.
    directories.retain(|one| one.cni_dir.is_absolute());
    Ok(directories)
}

/// Replaces the file. It is on the disk before this returns: it is rarely written, and a power
/// failure must not take it from attachments that outlive it.
///
/// # Errors
/// [`LedgerError`]; the old file, if any, is then still in place.
pub(super) async fn write(path: PathBuf, directories: &[Directory]) -> Result<(), LedgerError> {
    let remembered = Remembered {
        directories: directories.to_vec(),
    };
    let text = serde_json::to_vec(&remembered).map_err(|error| LedgerError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    let to = path.clone();
    let written = blocking(move || file::replace(&to, &text, &Disk::new(Durability::Strict))).await;
    written.map_err(failed("write", &path))
}

impl Files {
    /// Remembers further directories in `own_dir`, the daemon's own.
    #[must_use]
    pub fn remembering_in(mut self, own_dir: &Path) -> Self {
        self.remembered = Some(path(own_dir));
        self
    }
}

/// Whether anything is recorded in a directory, or it cannot be read.
pub(super) fn is_used(cni_dir: &Path) -> bool {
    let within = [UNDO_DIR, shim_api::deferred::DIR].map(|name| cni_dir.join(name));
    let has_files = |dir: &Path| match std::fs::read_dir(dir) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(mut files) => files.any(|file| {
            // Names of our own directories and of unfinished files begin with a dot.
            file.is_ok_and(|file| !file.file_name().to_string_lossy().starts_with('.'))
        }),
    };
    let has_results = || has_files(&results(cni_dir));
    let has_plans = match std::fs::read_dir(cni_dir) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(mut files) => files.any(|file| {
            file.is_ok_and(|file| {
                let name = file.file_name();
                !name.to_string_lossy().starts_with('.') && name != "results"
            })
        }),
    };
    has_plans || has_results() || within.iter().any(|dir| has_files(dir))
}

/// Removes the directory of recorded DELs from a directory without records; returns whether it has
/// none.
pub(super) fn abandon_unused(cni_dir: &Path) -> bool {
    if is_used(cni_dir) {
        return false;
    }
    // Fails if a shim records a DEL at this moment.
    deferred::no_more(cni_dir).is_ok() && !is_used(cni_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &Path) -> Directory {
        Directory {
            cni_dir: path.to_owned(),
            bin_dirs: vec!["/opt/cni/bin".into()],
        }
    }

    #[tokio::test]
    async fn directories_are_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("new"));
        assert!(read(&path).unwrap().is_empty());
        let written = [directory(Path::new("/a"))];
        let relative = [directory(Path::new("b"))];
        write(path.clone(), &[&written[..], &relative].concat())
            .await
            .unwrap();
        assert_eq!(read(&path).unwrap(), written);
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read(&path), Err(LedgerError::Damaged { .. })));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(read(&path), Err(LedgerError::Io { .. })));
    }

    #[test]
    fn a_directory_is_used_while_it_has_records() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for place in ["c", "results/n-c-eth0", ".undo/c", ".deferred/c"] {
            let path = dir.join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert!(!is_used(dir), "{place}");
            std::fs::write(&path, "{}").unwrap();
            assert!(is_used(dir) && !abandon_unused(dir), "{place}");
            std::fs::remove_file(path).unwrap();
        }
        assert!(abandon_unused(dir), "nothing is left");
        assert!(!dir.join(".deferred").exists(), "shims must see it");
        assert!(abandon_unused(&dir.join("gone")));
    }
}
