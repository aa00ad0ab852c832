//! Watches the policy directories with inotify: each of them, the nearest existing ancestor of a
//! missing one, and the places of symbolic links to or from one. It never polls.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::time::timeout;

/// Debounce interval: installing a policy writes two files, and large ones in pieces.
const QUIET: Duration = Duration::from_millis(200);
/// Maximum delay of a reload when a directory keeps changing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Enough for dozens of events at a time.
const BUFFER_BYTES: usize = 4096;

/// Changes in a policy directory, including `MOVED_TO`, by which a mounted ConfigMap is updated.
const CHANGES: WatchMask = WatchMask::CLOSE_WRITE
    .union(WatchMask::CREATE)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::DELETE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    // One directory may be watched for two reasons.
    .union(WatchMask::MASK_ADD);

/// Changes above a missing directory.
const APPEARANCES: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::MASK_ADD);

/// Maximum links of one directory that are followed; a ConfigMap has one for each key.
const MAX_LINKS: usize = 1024;

/// Maximum entries of one directory that are looked at; the policies of larger ones do not load.
const MAX_ENTRIES: usize = 4096;

/// Watches directories.
#[derive(Debug)]
pub(crate) struct Watch {
    dirs: Vec<PathBuf>,
    events: EventStream<Vec<u8>>,
}

impl Watch {
    /// Starts watching. Changes from now on are reported by the next [`changed`](Self::changed).
    ///
    /// # Errors
    /// The kernel's error, for example if this user's inotify watches are exhausted.
    pub(crate) async fn on(dirs: Vec<PathBuf>) -> io::Result<Self> {
        let events = watches_aside(&dirs).await?;
        Ok(Self { dirs, events })
    }

    /// Waits for the next changes, and then until they pause.
    ///
    /// # Errors
    /// The kernel's error; no further changes are reported then.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        self.next().await?;
        let settle = async {
            while let Ok(next) = timeout(QUIET, self.next()).await {
                next?;
            }
            io::Result::Ok(())
        };
        timeout(PATIENCE, settle).await.unwrap_or(Ok(()))?;
        // Directories may have been created, removed or replaced, so watch anew. The caller reads
        // them after this: it sees earlier changes, and the new watches report later ones.
        self.events = watches_aside(&self.dirs).await?;
        Ok(())
    }

    async fn next(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(drop),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Watches on a blocking thread: directories can be large, and their disks slow.
async fn watches_aside(dirs: &[PathBuf]) -> io::Result<EventStream<Vec<u8>>> {
    let dirs = dirs.to_vec();
    let watching = tokio::task::spawn_blocking(move || watches(&dirs));
    watching.await.map_err(io::Error::other)?
}

fn watches(dirs: &[PathBuf]) -> io::Result<EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    for dir in dirs {
        watch(&inotify, dir, CHANGES)?;
        for link in links_to(dir) {
            // The link itself may be replaced.
            if let Some(place) = link.parent() {
                watch(&inotify, place, APPEARANCES)?;
            }
        }
        for target in targets(dir) {
            // So may the targets of links in the directory.
            if let Some(place) = target.parent() {
                watch(&inotify, place, CHANGES)?;
            }
        }
    }
    inotify.into_event_stream(vec![0; BUFFER_BYTES])
}

/// The components of a path that are symbolic links.
fn links_to(dir: &Path) -> impl Iterator<Item = &Path> {
    dir.ancestors().filter(|part| part.is_symlink())
}

/// The targets outside a directory of the links in it.
fn targets(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .take(MAX_ENTRIES)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .take(MAX_LINKS)
        .map(|entry| entry.path())
        .filter_map(|path| path.canonicalize().ok())
        .filter(|target| target.is_file())
        .collect()
}

/// Watches a directory, or its nearest existing ancestor.
fn watch(inotify: &Inotify, dir: &Path, mut mask: WatchMask) -> io::Result<()> {
    for place in dir.ancestors() {
        match inotify.watches().add(place, mask) {
            Ok(_) => return Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                mask = APPEARANCES;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    async fn notified(watch: &mut Watch) -> bool {
        timeout(Duration::from_secs(10), watch.changed())
            .await
            .is_ok_and(|changed| changed.is_ok())
    }

    #[tokio::test]
    async fn a_swapped_config_map_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("..1")).unwrap();
        symlink("..1", path("..data")).unwrap();
        let mut watch = Watch::on(vec![dir.path().to_owned()]).await.unwrap();
        fs::create_dir(path("..2")).unwrap();
        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert!(notified(&mut watch).await);
    }

    #[tokio::test]
    async fn recreated_directory_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("etc/policies");
        let mut watch = Watch::on(vec![policies.clone()]).await.unwrap();
        fs::create_dir_all(&policies).unwrap();
        assert!(notified(&mut watch).await);
        fs::write(policies.join("10-a.json"), "{}").unwrap();
        assert!(notified(&mut watch).await);
        fs::remove_dir_all(&policies).unwrap();
        assert!(notified(&mut watch).await);
        fs::create_dir_all(&policies).unwrap();
        assert!(notified(&mut watch).await);
    }

    #[tokio::test]
    async fn replaced_symlinks_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(path(version)).unwrap();
        }
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("elsewhere/a.wasm"), "1").unwrap();
        symlink("../elsewhere/a.wasm", path("1/a.wasm")).unwrap();
        symlink("1", path("policies")).unwrap();
        let mut watch = Watch::on(vec![path("policies")]).await.unwrap();
        fs::write(path("elsewhere/a.wasm"), "2").unwrap();
        assert!(notified(&mut watch).await, "the file that a link leads to");
        symlink("2", path("new")).unwrap();
        assert!(notified(&mut watch).await);
        fs::rename(path("new"), path("policies")).unwrap();
        assert!(notified(&mut watch).await, "the link to the directory");
        fs::write(path("2/b.json"), "{}").unwrap();
        assert!(
            notified(&mut watch).await,
            "the directory that it leads to now"
        );
    }

    #[tokio::test]
    async fn several_writes_are_one_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::on(vec![dir.path().to_owned()]).await.unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        assert!(notified(&mut watch).await);
        let more = timeout(2 * QUIET, watch.changed()).await;
        assert!(more.is_err(), "one notification for all changes");
    }
}
