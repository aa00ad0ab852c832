//! A cgroup v2 control group for one compilation, so that its memory is not charged to the daemon.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FsWord;

/// `CGROUP2_SUPER_MAGIC` of the kernel's `magic.h`.
const CGROUP2: FsWord = 0x6367_7270;
/// Prefix of the groups' names; process id and number follow.
const NAME: &str = "compile-";
/// Bytes charged to the group beyond the compiler's own memory: the artefact in the page cache.
const BESIDE: u64 = 64 << 20;
/// The mount point of cgroup v2.
const ROOT: &str = "/sys/fs/cgroup";

/// The group of one compilation; dropping it kills the processes in it.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Creates a group below `parent`, and `parent` if missing.
    ///
    /// # Errors
    /// If `parent` is not a cgroup v2 directory, or not writable.
    pub(super) fn make(parent: &Path, number: u64, memory: u64) -> io::Result<Self> {
        match DirBuilder::new().create(parent) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if rustix::fs::statfs(parent)?.f_type != CGROUP2 {
            // Removes the directory that was created above, if it is empty.
            let _ = fs::remove_dir(parent);
            return Err(io::Error::other(format!(
                "{} is not a control group of version 2",
                parent.display()
            )));
        }
        let dir = parent.join(format!("{NAME}{}-{number}", std::process::id()));
        DirBuilder::new().create(&dir)?;
        // Works only if the parent delegates the controller; the compiler also limits itself.
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
        // Since Linux 5.14. The daemon kills the child itself in any case.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        // Fails if the group is still busy; `sweep` removes it later.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes empty groups.
pub(super) fn sweep(parent: &Path) {
    for child in fs::read_dir(parent).into_iter().flatten().flatten() {
        if child.file_name().to_string_lossy().starts_with(NAME) {
            // Fails if a compilation still runs in it.
            let _ = fs::remove_dir(child.path());
        }
    }
}

/// The memory limit of this process's cgroup v2 control group, if any.
pub(crate) fn own_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    limit(Path::new(ROOT), Path::new(own.trim_start_matches('/')))
}

/// The strictest limit of a group and its ancestors.
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
    fn a_plain_directory_is_not_a_group() {
        let dir = tempfile::tempdir().unwrap();
        let error = Group::make(&dir.path().join("x"), 1, 1).unwrap_err();
        assert!(error.to_string().contains("not a control group"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
