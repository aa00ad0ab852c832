//! Copies of artefacts that no path leads to: truncating or overwriting the file in the cache
//! cannot end a daemon that has mapped its copy. The kernel can still evict the pages of a copy,
//! which memory that is not a file's would not allow.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use files::Links;
use rustix::fs::{Mode, OFlags};

/// A copy of an artefact, which the kernel frees with its last mapping.
#[derive(Debug)]
pub(super) struct Copy(File);

impl Copy {
    /// Copies an artefact within its directory.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn of(artefact: &Path) -> io::Result<Self> {
        let mut from = files::open(artefact, Links::Refuse)?;
        let dir = artefact.parent().unwrap_or(Path::new("."));
        let mut copy = unnamed(dir)?;
        io::copy(&mut from, &mut copy)?;
        Ok(Self(copy))
    }

    /// A path to the copy in this process.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Creates a file without a name.
fn unnamed(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // Some file systems cannot make such files, overlayfs before Linux 6.3 among them.
        Err(_) => {
            // Modules are loaded side by side.
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!(".{}-{number}.new", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}
