//! Single files of the ledger: bounded reads, atomic writes, and setting damaged files aside.

use std::io;
use std::path::{Path, PathBuf};

use files::{Links, Replace};

use super::durability::Disk;

/// The ledger never writes a larger file.
const MAX_BYTES: u64 = 64 << 20;
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
    files::read(path, Links::Refuse, MAX_BYTES)
}

/// Whether [`read`] failed for what the file is: the daemon and shims write none like it.
pub(super) fn is_odd(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidInput};
    matches!(error.kind(), FileTooLarge | InvalidInput)
}

/// Writes a file atomically: readers see the old text or the new one.
///
/// # Errors
/// If it cannot be written; the old file, if any, is then still in place.
pub(super) fn replace(path: &Path, text: &[u8], disk: &Disk) -> io::Result<()> {
    let sync = |path: &Path| disk.sync(path);
    let replace = Replace::at(path).making_dir();
    if disk.is_strict() {
        replace.durable_by(&sync).write(text)
    } else {
        replace.write(text)
    }
}

/// Creates a directory that is private to this user, or keeps an existing private one.
///
/// # Errors
/// Also if others can write to it, or it is a link.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    files::make_private_dir(dir)?;
    files::require_private(dir)
}

/// Hard-links a damaged file into a directory outside the ledger, for inspection after it has been
/// replaced. Moves there what is not a file: it would be in the way of one.
///
/// # Errors
/// If it cannot be linked or moved.
pub(super) fn set_aside(path: &Path, dir: &Path) -> io::Result<PathBuf> {
    if !path.symlink_metadata()?.is_file() {
        return move_aside(path, dir);
    }
    for aside in places_aside(path, dir)? {
        match std::fs::hard_link(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked.map(|()| aside),
        }
    }
    Err(io::ErrorKind::QuotaExceeded.into())
}

/// Moves something damaged, which need not be a file, into a directory outside the ledger.
///
/// # Errors
/// If it cannot be moved.
pub(super) fn move_aside(path: &Path, dir: &Path) -> io::Result<PathBuf> {
    let mut places = places_aside(path, dir)?.into_iter();
    let free = places.find(|aside| aside.symlink_metadata().is_err());
    let aside = free.ok_or(io::ErrorKind::QuotaExceeded)?;
    std::fs::rename(path, &aside).map(|()| aside)
}

/// Where a damaged file may be kept.
fn places_aside(path: &Path, dir: &Path) -> io::Result<Vec<PathBuf>> {
    make_private_dir(dir)?;
    if std::fs::read_dir(dir)?.count() >= MAX_ALL_ASIDE {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Leaves room for a number: a result's name may have the maximum length.
    let name = name
        .get(..name.floor_char_boundary(MAX_NAME_ASIDE))
        .unwrap_or_default();
    let places = (0..MAX_ASIDE).map(|number| dir.join(format!("{name}.{number}")));
    Ok(places.collect())
}

#[cfg(test)]
mod tests {
    use super::super::durability::tests::recorded;
    use super::*;
    use cnidaria_core::domain::attachment::result_name_len;
    use config::own::Durability;

    #[test]
    fn a_strict_write_waits_for_file_and_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (disk, synced) = recorded(Durability::Strict);
        replace(&path, b"text", &disk).unwrap();
        assert_eq!(synced.lock().len(), 2);
    }

    #[test]
    fn names_of_results_have_the_expected_length() {
        use cni_types::args::{ContainerId, IfName, NetworkName};
        let key = libcni::cache::Key {
            network: NetworkName::new("net").unwrap(),
            container_id: ContainerId::new("container").unwrap(),
            if_name: IfName::new("eth0").unwrap(),
        };
        assert_eq!(
            result_name_len(&key.network, &key.container_id, &key.if_name),
            key.to_string().len()
        );
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
    async fn grouped_writes_do_not_wait_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (disk, synced) = recorded(Durability::Grouped);
        replace(&path, b"text", &disk).unwrap();
        assert!(synced.lock().is_empty());
        assert_eq!(read(&path).unwrap(), b"text");
    }
}
