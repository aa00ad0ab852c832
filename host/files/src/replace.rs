//! Atomic replacement of files: readers see the old content or the new one.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use crate::private::make_private_dir;

/// Suffix of a file that is still being written. No program takes such a file for its own.
const UNFINISHED: &str = ".new";
/// The suffix that earlier versions used for some files.
const EARLIER_UNFINISHED: &str = ".tmp";

/// Replaces a file, or creates it. By default a new file is readable only by its owner, and nothing
/// waits for the disk.
///
/// The content is first written to a new file in the same directory, `.<pid>-<number>.new`, so that
/// concurrent writers and the longest file names work. [`sweep`] removes what a killed process left.
#[must_use = "nothing is written before `write`"]
pub struct Replace<'a> {
    path: &'a Path,
    mode: u32,
    makes_dir: bool,
    sync: Option<Sync<'a>>,
}

/// Waits until a file or directory is on the disk.
type Sync<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

impl<'a> Replace<'a> {
    /// The file at `path`. A symbolic link is replaced, not followed.
    pub fn at(path: &'a Path) -> Self {
        Self {
            path,
            mode: 0o600,
            makes_dir: false,
            sync: None,
        }
    }

    /// The mode of the new file, whatever the umask; 0600 by default.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Creates a missing directory, with mode 0700.
    pub fn making_dir(mut self) -> Self {
        self.makes_dir = true;
        self
    }

    /// Waits for the disk: after a power failure, too, the old or the new content is there.
    pub fn durable(self) -> Self {
        self.durable_by(&|path| File::open(path)?.sync_all())
    }

    /// As [`Self::durable`], with a function that waits until a file or directory is on the disk.
    pub fn durable_by(mut self, sync: &'a dyn Fn(&Path) -> io::Result<()>) -> Self {
        self.sync = Some(sync);
        self
    }

    /// Writes the content.
    ///
    /// # Errors
    /// Those of the system; unless only the last wait for the disk failed, the old file is in place.
    pub fn write(self, content: &[u8]) -> io::Result<()> {
        self.write_then(content, |_| Ok(())).map(drop)
    }

    /// As [`Self::write`], and calls `before` on the file, open for writing, before it gets its name.
    /// Returns the file.
    ///
    /// # Errors
    /// As [`Self::write`], and those of `before`.
    pub fn write_then(
        self,
        content: &[u8],
        before: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<File> {
        let dir = match self.path.parent() {
            Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
            Some(dir) => dir,
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let unfinished = unfinished_in(dir);
        let written = self
            .fill(dir, &unfinished, content)
            .and_then(|file| before(&file).map(|()| file))
            .and_then(|file| self.finish(dir, &unfinished).map(|()| file));
        if written.is_err() {
            // Keep the first error.
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    }

    fn fill(&self, dir: &Path, unfinished: &Path, content: &[u8]) -> io::Result<File> {
        let mut file = match self.create(unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.makes_dir => {
                make_private_dir(dir)?;
                self.create(unfinished)?
            }
            // Left by an earlier process with this id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(unfinished)?;
                self.create(unfinished)?
            }
            created => created?,
        };
        if self.mode & !0o600 != 0 {
            file.set_permissions(Permissions::from_mode(self.mode))?;
        }
        file.write_all(content)?;
        Ok(file)
    }

    fn create(&self, unfinished: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(self.mode)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(unfinished)
    }

    fn finish(&self, dir: &Path, unfinished: &Path) -> io::Result<()> {
        if let Some(sync) = self.sync {
            sync(unfinished)?;
        }
        std::fs::rename(unfinished, self.path)?;
        match self.sync {
            Some(sync) => sync(dir),
            None => Ok(()),
        }
    }
}

fn unfinished_in(dir: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    dir.join(format!(".{}-{number}{UNFINISHED}", std::process::id()))
}

/// Removes unfinished files that killed processes left in `dir`. Must not run while another process
/// writes there; succeeds if the directory does not exist.
///
/// # Errors
/// If the directory cannot be read or a file cannot be removed.
pub fn sweep(dir: &Path) -> io::Result<()> {
    let files = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        let is_unfinished = name.starts_with('.')
            && (name.ends_with(UNFINISHED) || name.ends_with(EARLIER_UNFINISHED));
        if is_unfinished && file.file_type()?.is_file() {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(Replace::at(&path).write(b"x").is_err());
        Replace::at(&path).making_dir().write(b"x").unwrap();
        Replace::at(&path).write(b"y").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"y");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
        Replace::at(&path).mode(0o644).write(b"z").unwrap();
        assert_eq!(mode(&path), 0o644);
    }

    #[test]
    fn links_are_replaced_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, path) = (dir.path().join("precious"), dir.path().join("link"));
        std::fs::write(&precious, "old").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        Replace::at(&path).durable().write(b"new").unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"old");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_failure_leaves_the_old_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        Replace::at(&path).write(b"old").unwrap();
        let fails = |_: &File| Err(io::ErrorKind::Other.into());
        assert!(Replace::at(&path).write_then(b"new", fails).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn the_disk_has_the_content_before_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let synced = Mutex::new(Vec::new());
        let record = |path: &Path| {
            synced.lock().unwrap().push(path.to_owned());
            Ok(())
        };
        Replace::at(&path).durable_by(&record).write(b"x").unwrap();
        let synced = synced.into_inner().unwrap();
        let [unfinished, directory] = synced.as_slice() else {
            unreachable!("{synced:?}")
        };
        assert!(unfinished.to_string_lossy().ends_with(UNFINISHED));
        assert_eq!(directory, dir.path());
    }

    #[test]
    fn sweeping_removes_unfinished_files_only() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".7-1.new", ".7-2.tmp", ".hidden", "a.new"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        sweep(dir.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".hidden", "a.new"]);
        sweep(&dir.path().join("missing")).unwrap();
    }
}
