//! A control group (version 2) for one compilation, so that its memory is not the daemon's.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FsWord;

/// `CGROUP2_SUPER_MAGIC` of the kernel's `magic.h`.
const CGROUP2: FsWord = 0x6367_7270;
/// How the groups are called; process and number follow.
const NAME: &str = "compile-";
/// Bytes of what is charged to the group beside the compiler's own memory: the artefact in the page cache.
const BESIDE: u64 = 64 << 20;
/// Where control groups of version 2 are.
const ROOT: &str = "/sys/fs/cgroup";

/// The group of one compilation; what is in it is killed with it.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Makes a group below `parent`, and `parent` where it is not there.
    ///
    /// # Errors
    /// Where that is no control group of version 2, or cannot be written to.
    pub(super) fn make(parent: &Path, number: u64, memory: u64) -> io::Result<Self> {
        match DirBuilder::new().create(parent) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if rustix::fs::statfs(parent)?.f_type != CGROUP2 {
            // Made above where it is empty, and not wanted.
            let _ = fs::remove_dir(parent);
            return Err(io::Error::other(format!(
                "{} is no control group of version 2",
                parent.display()
            )));
        }
        let dir = parent.join(format!("{NAME}{}-{number}", std::process::id()));
        DirBuilder::new().create(&dir)?;
        // Only where the parent hands the controller down; the compiler limits itself as well.
        let _ = fs::write(dir.join("memory.max"), (memory + BESIDE).to_string());
        let _ = fs::write(dir.join("memory.swap.max"), "0");
        Ok(Self(dir))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Since Linux 5.14; the child itself is killed by its parent.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        // Busy for a moment after that, then left to `sweep`.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes groups that are empty.
pub(super) fn sweep(parent: &Path) {
    for child in fs::read_dir(parent).into_iter().flatten().flatten() {
        if child.file_name().to_string_lossy().starts_with(NAME) {
            // Busy where a compilation runs in it.
            let _ = fs::remove_dir(child.path());
        }
    }
}

/// The memory limit of the control group of this process, where it has one of version 2.
pub(crate) fn own_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    limit(Path::new(ROOT), Path::new(own.trim_start_matches('/')))
}

/// The strictest limit of a group and all that it is in.
fn limit(root: &Path, own: &Path) -> Option<u64> {
    let limits = own.ancestors().filter_map(|group| {
        let text = fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_limit_above_counts() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        let own = Path::new("a/b");
        assert_eq!(limit(root.path(), own), None);
        fs::write(root.path().join("a/b/memory.max"), "max\n").unwrap();
        assert_eq!(limit(root.path(), own), None);
        fs::write(root.path().join("a/memory.max"), "7000\n").unwrap();
        assert_eq!(limit(root.path(), own), Some(7000));
    }

    #[test]
    fn a_plain_directory_is_no_group() {
        let dir = tempfile::tempdir().unwrap();
        let error = Group::make(&dir.path().join("x"), 1, 1).unwrap_err();
        assert!(error.to_string().contains("no control group"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
