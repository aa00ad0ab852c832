//! The directories that runtimes' confs name instead of the daemon's own: a small file in the
//! daemon's own directory, so that the next daemon finds what is recorded in them. It has a copy:
//! without the list, delegates would take what other runtimes attached for unused.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shim_api::deferred::boot_id;

use super::durability::Disk;
use super::{FORGOTTEN_DIR, Files, UNDO_DIR, blocking, deferred, failed, file, results};
use cnidaria_core::domain::sandbox::RESULTS_DIR;
use cnidaria_core::ports::{Directory, LedgerError, Remembered};
use config::own::Durability;

/// Name of the file. Container ids never begin with a dot.
const NAME: &str = ".directories";
/// Name of its copy.
const COPY: &str = ".directories.copy";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    directories: Vec<Directory>,
    /// The boot in which the record of further ones was damaged. What they had is gone after the
    /// next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incomplete_in_boot: Option<String>,
}

/// The file in a daemon's own directory.
pub(super) fn path(own_dir: &Path) -> PathBuf {
    own_dir.join(NAME)
}

/// The remembered directories; none if there is neither the file nor its copy.
///
/// # Errors
/// [`LedgerError`] if the file cannot be read, nor its copy.
pub(super) fn read(path: &Path) -> Result<Remembered, LedgerError> {
    let first = match read_one(path) {
        Ok(Some(remembered)) => return Ok(remembered),
        first => first,
    };
    let copy = path.with_file_name(COPY);
    match (first, read_one(&copy)) {
        (first, Ok(Some(remembered))) => {
            let error = first
                .err()
                .map(|error| cnidaria_core::report::chain(&error));
            tracing::error!(
                path = %path.display(),
                error,
                "the record of further cniDirs is missing or damaged; its copy is used"
            );
            Ok(remembered)
        }
        (Ok(_), Ok(None)) => Ok(Remembered::default()),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

fn read_one(path: &Path) -> Result<Option<Remembered>, LedgerError> {
    let text = match file::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(failed("read", path))?,
    };
    let text: Text = serde_json::from_slice(&text).map_err(|error| LedgerError::Damaged {
        path: path.to_owned(),
        reason: cni_types::json::Cause::from(error).to_string(),
    })?;
    let mut directories = text.directories;
    // A relative path would depend on where the daemon was started.
    directories.retain(|one| one.cni_dir.is_absolute());
    Ok(Some(Remembered {
        directories,
        is_complete: text.incomplete_in_boot.is_none_or(|boot| boot != boot_id()),
    }))
}

/// Replaces the file, then its copy. It is on the disk before this returns: it is rarely written,
/// and a power failure must not take it from attachments that outlive it.
///
/// # Errors
/// [`LedgerError`]; the old file, if any, is then still in place.
pub(super) async fn write(path: PathBuf, remembered: &Remembered) -> Result<(), LedgerError> {
    let text = Text {
        directories: remembered.directories.clone(),
        incomplete_in_boot: (!remembered.is_complete).then(boot_id),
    };
    let text = serde_json::to_vec(&text).map_err(|error| LedgerError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    let to = path.clone();
    let written = blocking(move || {
        let disk = Disk::new(Durability::Strict);
        file::replace(&to, &text, &disk)?;
        file::replace(&to.with_file_name(COPY), &text, &disk)
    });
    let written = written.await;
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
                !name.to_string_lossy().starts_with('.') && name != RESULTS_DIR
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
    // Notes alone do not keep a directory in use.
    let _ = std::fs::remove_dir_all(cni_dir.join(FORGOTTEN_DIR));
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
        assert_eq!(read(&path).unwrap(), Remembered::default());
        for is_complete in [true, false] {
            let written = ["/a", "b"].map(|path| directory(Path::new(path)));
            let written = Remembered {
                directories: written.to_vec(),
                is_complete,
            };
            write(path.clone(), &written).await.unwrap();
            let read = read(&path).unwrap();
            assert_eq!(read.directories, [directory(Path::new("/a"))]);
            assert_eq!(read.is_complete, is_complete);
        }
        std::fs::write(&path, r#"{"directories":[],"incompleteInBoot":"earlier"}"#).unwrap();
        assert!(read(&path).unwrap().is_complete, "nothing is left of it");
        let copy = path.with_file_name(COPY);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(read(&path).unwrap().directories.len(), 1, "the copy");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&path).unwrap().directories.len(), 1, "the copy");
        for both in [&path, &copy] {
            std::fs::write(both, "").unwrap();
        }
        assert!(matches!(read(&path), Err(LedgerError::Damaged { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path), Err(LedgerError::Damaged { .. })));
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
