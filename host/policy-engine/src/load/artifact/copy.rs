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
        Err(_) => no_longer_named(dir),
    }
}

/// Creates a file and removes its name.
fn no_longer_named(dir: &Path) -> io::Result<File> {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    /// Makes files in a directory, and checks that they are private, distinct and have no name.
    fn check(make: fn(&Path) -> io::Result<File>) {
        let dir = tempfile::tempdir().unwrap();
        let mut files: Vec<File> = (0..3).map(|_| make(dir.path()).unwrap()).collect();
        for (number, file) in files.iter_mut().enumerate() {
            write!(file, "{number}").unwrap();
        }
        for (number, mut file) in files.into_iter().enumerate() {
            let metadata = file.metadata().unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o600, 0));
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, number.to_string());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        make(&dir.path().join("missing")).unwrap_err();
    }

    #[test]
    fn a_copy_has_no_name() {
        check(unnamed);
    }

    #[test]
    fn without_unnamed_files_the_name_is_removed() {
        check(no_longer_named);
    }

    #[test]
    fn what_has_the_name_already_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::write(&kept, "kept").unwrap();
        // A process that was killed left them, or one that had this number.
        for number in 0..64 {
            let left = dir
                .path()
                .join(format!(".{}-{number}.new", std::process::id()));
            symlink(&kept, left).unwrap();
        }
        let mut file = no_longer_named(dir.path()).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    }
}
