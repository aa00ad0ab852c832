//! When files reach the disk. A rename survives the death of the daemon; a power failure takes an
//! fsync, which the caller may wait for.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cnidaria_core::supervision;
use config::own::Durability;
use parking_lot::Mutex;

/// How long changes are grouped. With the fsyncs, well below a second.
const GATHER: Duration = Duration::from_millis(300);

type Sync = dyn Fn(&Path) -> io::Result<()> + Send + std::marker::Sync;

#[derive(Clone)]
pub(super) struct Disk {
    durability: Durability,
    sync: Arc<Sync>,
    group: Arc<Mutex<Group>>,
}

/// Paths waiting for the next fsyncs.
#[derive(Debug, Default)]
struct Group {
    changed: Vec<PathBuf>,
    /// Whether a task is running to sync them.
    awaited: bool,
}

impl Disk {
    pub(super) fn new(durability: Durability) -> Self {
        Self::with(durability, |path| File::open(path)?.sync_all())
    }

    fn with(
        durability: Durability,
        sync: impl Fn(&Path) -> io::Result<()> + Send + std::marker::Sync + 'static,
    ) -> Self {
        Self {
            durability,
            sync: Arc::new(sync),
            group: Arc::default(),
        }
    }

    /// Whether writes must be on the disk before they return.
    pub(super) fn is_strict(&self) -> bool {
        self.durability == Durability::Strict
    }

    /// Waits until a file or directory is on the disk.
    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        (self.sync)(path)
    }

    /// Schedules an fsync of a written file and its directory. Requires a tokio runtime.
    pub(super) fn sync_soon(&self, path: &Path) {
        let awaited = {
            let mut group = self.group.lock();
            group.changed.push(path.to_owned());
            std::mem::replace(&mut group.awaited, true)
        };
        if !awaited {
            supervision::spawn("sync of the ledger", self.clone(), |disk| {
                Box::pin(disk.sync_groups())
            });
        }
    }

    /// Syncs groups until there are none left.
    async fn sync_groups(&self) {
        loop {
            tokio::time::sleep(GATHER).await;
            let changed = {
                let mut group = self.group.lock();
                group.awaited = !group.changed.is_empty();
                std::mem::take(&mut group.changed)
            };
            if changed.is_empty() {
                return;
            }
            let sync = Arc::clone(&self.sync);
            let synced = tokio::task::spawn_blocking(move || sync_all(&*sync, &changed)).await;
            if synced.is_err() {
                tracing::error!(
                    "cannot sync the ledger; a loss of power now may lose its latest changes"
                );
            }
        }
    }
}

/// Syncs files, then their directories.
fn sync_all(sync: &Sync, changed: &[PathBuf]) {
    let files = unique(changed.iter().map(PathBuf::as_path));
    let directories = unique(files.iter().filter_map(|file| file.parent()));
    for path in files.into_iter().chain(directories) {
        match sync(path) {
            // Removed in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                path = %path.display(),
                %error,
                "cannot sync a file of the ledger; a loss of power now may lose it"
            ),
            Ok(()) => {}
        }
    }
}

/// Removes duplicates. Compares paths as bytes, which is faster than by components.
fn unique<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<&'a Path> {
    let mut paths: Vec<&Path> = paths.collect();
    paths.sort_unstable_by_key(|path| path.as_os_str());
    paths.dedup();
    paths
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A disk that records what it would sync.
    pub(in super::super) fn recorded(durability: Durability) -> (Disk, Arc<Mutex<Vec<PathBuf>>>) {
        let synced: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let log = Arc::clone(&synced);
        let disk = Disk::with(durability, move |path| {
            log.lock().push(path.to_owned());
            Ok(())
        });
        (disk, synced)
    }

    #[tokio::test(start_paused = true)]
    async fn many_writes_are_one_group_within_a_second() {
        let (disk, synced) = recorded(Durability::Grouped);
        for name in ["a", "b", "a"] {
            disk.sync_soon(&Path::new("/ledger").join(name));
        }
        assert!(synced.lock().is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let paths = ["/ledger/a", "/ledger/b", "/ledger"].map(PathBuf::from);
        assert_eq!(*synced.lock(), paths);
    }

    #[tokio::test(start_paused = true)]
    async fn writes_after_a_group_sync_are_synced_too() {
        let (disk, synced) = recorded(Durability::Grouped);
        for round in 1..4 {
            disk.sync_soon(Path::new("/ledger/a"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(synced.lock().len(), 2 * round);
        }
    }

    #[test]
    fn a_file_is_really_brought_to_the_disk() {
        let disk = Disk::new(Durability::Strict);
        let file = tempfile::NamedTempFile::new().unwrap();
        disk.sync(file.path()).unwrap();
        let gone = file.path().with_extension("gone");
        assert!(disk.sync(&gone).is_err());
    }
}
