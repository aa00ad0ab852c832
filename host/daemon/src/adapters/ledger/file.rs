//! Single files of the ledger: bounded reads, atomic writes, and setting damaged files aside.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use super::durability::Disk;

/// The ledger never writes a larger file.
const MAX_BYTES: u64 = 64 << 20;
/// Suffix of a file that is still being written.
const UNFINISHED: &str = ".new";
/// Damaged files kept per name, and in all.
const MAX_ASIDE: u32 = 8;
const MAX_ALL_ASIDE: usize = 1024;
/// How much of a damaged file's name is kept.
const MAX_NAME_ASIDE: usize = 240;

/// Reads a file.
///
/// # Errors
/// Also if it is not a regular file: others who may write to the directory could have put a link or
/// an endless FIFO there.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0));
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// Writes a file atomically: readers see the old text or the new one.
///
/// # Errors
/// If it cannot be written; the old file, if any, is then still in place.
pub(super) fn replace(path: &Path, text: &[u8], disk: &Disk) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let unfinished = dir.join(format!(".{}-{number}{UNFINISHED}", std::process::id()));
    let write = || create(&unfinished)?.write_all(text);
    let written = match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dir(dir).and_then(|()| write())
        }
        written => written,
    };
    let finish = || {
        if disk.is_strict() {
            disk.sync(&unfinished)?;
        }
        std::fs::rename(&unfinished, path)?;
        if disk.is_strict() {
            disk.sync(dir)?;
        }
        Ok(())
    };
    let replaced = written.and_then(|()| finish());
    if replaced.is_err() {
        // Keep the first error.
        let _ = std::fs::remove_file(&unfinished);
    }
    replaced
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Creates a directory that is private to this user, or keeps an existing private one.
///
/// # Errors
/// Also if others can write to it, or it is a link.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    let metadata = dir.symlink_metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !is_own || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("not a directory of this daemon alone"));
    }
    Ok(())
}

/// Hard-links a damaged file into a directory outside the ledger, for inspection after it has been
/// replaced.
///
/// # Errors
/// If it cannot be linked.
pub(super) fn set_aside(path: &Path, dir: &Path) -> io::Result<PathBuf> {
    make_private_dir(dir)?;
    if std::fs::read_dir(dir)?.count() >= MAX_ALL_ASIDE {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Leaves room for a number: a result's name may have the maximum length.
    let name = name
        .get(..name.floor_char_boundary(MAX_NAME_ASIDE))
        .unwrap_or_default();
    for number in 0..MAX_ASIDE {
        let aside = dir.join(format!("{name}.{number}"));
        match std::fs::hard_link(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked.map(|()| aside),
        }
    }
    Err(io::ErrorKind::QuotaExceeded.into())
}

/// Removes unfinished files of a killed daemon. Must not run concurrently with writes.
///
/// # Errors
/// If the directory cannot be read or a file cannot be removed.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    let files = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        // The result cache's suffix is `.tmp`.
        let unfinished =
            name.starts_with('.') && (name.ends_with(UNFINISHED) || name.ends_with(".tmp"));
        if unfinished && file.file_type()?.is_file() {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::durability::tests::recorded;
    use super::*;
    use crate::config::own::Durability;

    #[test]
    fn strictly_the_file_is_on_the_disk_before_it_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (disk, synced) = recorded(Durability::Strict);
        replace(&path, b"text", &disk).unwrap();
        let synced = synced.lock().unwrap();
        let [unfinished, directory] = synced.as_slice() else {
            unreachable!("{synced:?}")
        };
        assert!(unfinished.to_string_lossy().ends_with(UNFINISHED));
        assert_eq!(directory, dir.path());
    }

    #[test]
    fn the_longest_name_can_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(255));
        std::fs::write(&path, "torn").unwrap();
        let aside = dir.path().join("damaged");
        let first = set_aside(&path, &aside).unwrap();
        let second = set_aside(&path, &aside).unwrap();
        assert_ne!(first, second);
        assert_eq!(std::fs::read(second).unwrap(), b"torn");
    }

    #[tokio::test]
    async fn otherwise_nobody_waits_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (disk, synced) = recorded(Durability::Grouped);
        replace(&path, b"text", &disk).unwrap();
        assert!(synced.lock().unwrap().is_empty());
        assert_eq!(read(&path).unwrap(), b"text");
    }
}
