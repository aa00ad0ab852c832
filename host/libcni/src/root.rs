//! Another root directory for plugins: that of the node, mounted into the container of the runtime.
//!
//! One dedicated thread has that root and starts the plugins. They are spawned like any other
//! process, without copying the caller's memory, and the caller's root never changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::UnshareFlags;

use crate::helper::Helper;

/// A root directory for plugins and for file access.
#[derive(Debug, Clone)]
pub struct Root {
    dir: Arc<PathBuf>,
    thread: Helper,
}

impl Root {
    /// Starts the thread. It ends when the last clone is dropped.
    ///
    /// # Errors
    /// When the directory cannot become the root: it does not exist, or the caller lacks
    /// `CAP_SYS_CHROOT`.
    pub fn enter(dir: &Path) -> io::Result<Self> {
        let path = dir.to_owned();
        Ok(Self {
            dir: Arc::new(dir.to_owned()),
            thread: Helper::prepared("root", move || change_root(&path))?,
        })
    }

    /// The directory, as seen by the caller.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The thread with this root.
    pub(crate) fn helper(&self) -> &Helper {
        &self.thread
    }

    /// Runs `work` on the thread, where absolute paths are relative to the directory. Work is
    /// serialised, so it should be short.
    ///
    /// # Errors
    /// Only when the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.thread.run(work).await
    }
}

/// Changes the root directory of this thread only.
#[expect(
    unsafe_code,
    reason = "rustix has no safe form for a part of the flags"
)]
fn change_root(dir: &Path) -> io::Result<()> {
    // SAFETY: `unshare` is unsafe for flags that take away state other code on the thread may rely
    // on, such as the file descriptor table. `FS` only gives the thread its own copy of root,
    // working directory and umask, and the thread runs only the work sent to its helper.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
    rustix::process::chroot(dir)?;
    // Otherwise the working directory would stay outside the root.
    rustix::process::chdir("/")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` without `CAP_SYS_CHROOT`, which not every test environment has.
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
    async fn run_resolves_paths_below_the_root() {
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
    async fn a_missing_directory_is_not_a_root() {
        assert!(Root::enter(Path::new("/nonexistent")).is_err());
    }
}
