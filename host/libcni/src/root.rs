//! Another root directory for plugins: those of a node that is mounted somewhere, for a runtime that
//! itself lives in a container.
//!
//! One thread has that root for itself, and starts the plugins. So they are spawned as any other
//! process, without a copy of the caller's memory, and the caller's own root never changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::UnshareFlags;

use crate::helper::Helper;

/// A directory that is the root for what runs in it.
#[derive(Debug, Clone)]
pub struct Root {
    dir: Arc<PathBuf>,
    thread: Helper,
}

impl Root {
    /// Starts the thread. It ends with the last clone of this.
    ///
    /// # Errors
    /// When the directory cannot become a root: it is not there, or the caller has no
    /// `CAP_SYS_CHROOT`.
    pub fn enter(dir: &Path) -> io::Result<Self> {
        let path = dir.to_owned();
        Ok(Self {
            dir: Arc::new(dir.to_owned()),
            thread: Helper::prepared("root", move || change_root(&path))?,
        })
    }

    /// The directory, seen from outside.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The thread inside.
    pub(crate) fn helper(&self) -> &Helper {
        &self.thread
    }

    /// Does something inside, where absolute paths mean what is below the directory. One thing is
    /// done at a time, so it should be short.
    ///
    /// # Errors
    /// Only when earlier work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.thread.run(work).await
    }
}

/// Changes the root directory of this thread alone.
#[expect(
    unsafe_code,
    reason = "rustix has no safe form for a part of the flags"
)]
fn change_root(dir: &Path) -> io::Result<()> {
    // SAFETY: `unshare` is unsafe for flags that take away what other code of the thread may rely
    // on, which is the table of file descriptors. `FS` alone gives the thread its own copy of root,
    // working directory and umask, and no code but what is sent to its helper runs on it.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
    rustix::process::chroot(dir)?;
    // Else the working directory would still be outside.
    rustix::process::chdir("/")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root needs a privilege that not everybody who runs tests has.
    fn enter(dir: &Path) -> Option<Root> {
        match Root::enter(dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: needs CAP_SYS_CHROOT");
                None
            }
            entered => Some(entered.unwrap()),
        }
    }

    #[tokio::test]
    async fn paths_mean_what_is_below_the_directory_and_only_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("only-here"), "x").unwrap();
        std::os::unix::fs::symlink("/only-here", dir.path().join("link")).unwrap();
        let Some(root) = enter(dir.path()) else {
            return;
        };
        let read = || std::fs::read_to_string("/link");
        assert_eq!(root.run(read).await.unwrap().unwrap(), "x");
        assert!(read().is_err(), "the test's own root is the old one");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_no_root() {
        assert!(Root::enter(Path::new("/nonexistent")).is_err());
    }
}
