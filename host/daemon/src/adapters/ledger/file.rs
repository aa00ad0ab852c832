//! Single files of the ledger: read bounded, written whole, moved aside when they are damaged.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use super::durability::Disk;

/// A larger file is not read: it is none of ours.
const MAX_BYTES: u64 = 64 << 20;
/// What a file is called until it is whole.
const UNFINISHED: &str = ".new";
/// So many damaged files of one name are kept, and so many of all.
const MAX_ASIDE: u32 = 8;
const MAX_ALL_ASIDE: usize = 1024;
/// As much is kept of the name of a damaged file.
const MAX_NAME_ASIDE: usize = 240;

/// Reads a file.
///
/// # Errors
/// Also for what is no file: whoever may write to the directory could have put a link, or a pipe
/// that never ends, in its place.
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

/// Writes a file whole: whoever reads it sees the old text or the new one.
///
/// # Errors
/// There is then the old text, or none.
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
        // The first error is the one to report.
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

/// Makes a directory for this user alone, or keeps one that is.
///
/// # Errors
/// Also where somebody else could write to what is there, or it is a link.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    let metadata = dir.symlink_metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !is_own || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("not a directory of this daemon alone"));
    }
    Ok(())
}

/// Gives a damaged file a second name in a directory that nobody looks for containers in, so that
/// people can look at it after it has been replaced.
///
/// # Errors
/// When it cannot be linked.
pub(super) fn set_aside(path: &Path, dir: &Path) -> io::Result<PathBuf> {
    make_private_dir(dir)?;
    if std::fs::read_dir(dir)?.count() >= MAX_ALL_ASIDE {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // With room for a number: a result may have the longest name that a file can have.
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

/// Removes what the writes of a killed daemon left. Called while nobody writes.
///
/// # Errors
/// When the directory cannot be read, or a file not be removed.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    let files = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        // The result cache calls them `.tmp`.
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
