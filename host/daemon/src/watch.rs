//! Waits for file changes by inotify, without polling.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::time::timeout;

/// Debounce interval: files are often written several at a time.
const QUIET: Duration = Duration::from_millis(20);
/// Upper bound on debouncing, for directories that change constantly.
const PATIENCE: Duration = Duration::from_secs(1);
/// Enough for dozens of events at a time.
const BUFFER_BYTES: usize = 4096;

/// Watches directories for files that are written, created, moved or removed.
#[derive(Debug)]
pub(crate) struct Watch {
    events: EventStream<Vec<u8>>,
}

impl Watch {
    /// Starts watching. Later changes are kept for the next [`Self::changed`].
    ///
    /// # Errors
    /// A directory cannot be watched, for example because it does not exist, or the caller is
    /// outside a tokio runtime.
    pub(crate) fn on<'a>(dirs: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        for dir in dirs {
            inotify.watches().add(
                dir,
                WatchMask::CLOSE_WRITE
                    | WatchMask::CREATE
                    | WatchMask::MOVED_TO
                    | WatchMask::MOVED_FROM
                    | WatchMask::DELETE
                    | WatchMask::MOVE_SELF
                    | WatchMask::ONLYDIR,
            )?;
        }
        let events = inotify.into_event_stream(vec![0; BUFFER_BYTES])?;
        Ok(Self { events })
    }

    /// Waits for the next change, then debounces.
    ///
    /// # Errors
    /// The kernel's error; no further changes are reported.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        self.next().await?;
        let collect = async {
            while let Ok(next) = timeout(QUIET, self.next()).await {
                next?;
            }
            Ok(())
        };
        timeout(PATIENCE, collect).await.unwrap_or(Ok(()))
    }

    async fn next(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(drop),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Waits until a file exists, even if its directory does not exist yet; possibly forever.
///
/// # Errors
/// The kernel's error.
pub(crate) async fn exists(path: &Path) -> io::Result<()> {
    while !path.exists() {
        let mut watch = Watch::on([nearest_dir(path).as_path()])?;
        // It may have been created before the watch began.
        if path.exists() {
            break;
        }
        watch.next().await?;
    }
    Ok(())
}

/// The deepest existing directory above a file.
fn nearest_dir(path: &Path) -> PathBuf {
    path.ancestors()
        .skip(1)
        .find(|dir| dir.is_dir())
        .map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn several_writes_are_one_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::on([dir.path()]).unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        watch.changed().await.unwrap();
        let more = timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(more.is_err(), "one notification for all changes");
    }

    #[tokio::test]
    async fn exists_waits_below_missing_directories() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/flannel/subnet.env");
        let (found, ()) = tokio::join!(exists(&path), async {
            tokio::task::yield_now().await;
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
        });
        found.unwrap();
    }

    #[tokio::test]
    async fn watching_missing_directory_fails() {
        assert!(Watch::on([Path::new("/nonexistent")]).is_err());
    }
}
