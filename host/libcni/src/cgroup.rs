//! A control group (v2) for plugins, so that their resources are not charged to the caller. Each
//! execution has a child group that can be killed as a whole.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::FsWord;
use rustix::io::Errno;
use rustix::process::Pid;

/// `CGROUP2_SUPER_MAGIC` of the kernel's `magic.h`.
const CGROUP2: FsWord = 0x6367_7270;
/// Name prefix of child groups; pid and number follow.
const CHILD: &str = "plugin-";

/// A control group for plugins.
#[derive(Clone, Debug)]
pub struct Cgroup {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    executions: AtomicU64,
    /// Child groups still populated by processes that a plugin left behind.
    left: Mutex<Vec<PathBuf>>,
}

impl Cgroup {
    /// Opens a cgroup v2 directory, creating it if only its parent exists. Removes empty groups of
    /// earlier executions.
    ///
    /// # Errors
    /// When it is not a cgroup v2 directory or not writable.
    pub fn open(dir: &Path) -> io::Result<Self> {
        match DirBuilder::new().create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if rustix::fs::statfs(dir)?.f_type != CGROUP2 {
            // Created above.
            let _ = fs::remove_dir(dir);
            return Err(io::Error::other("no control group of version 2"));
        }
        for child in fs::read_dir(dir)? {
            let child = child?;
            if child.file_name().to_string_lossy().starts_with(CHILD) {
                // Fails with EBUSY while the group is populated.
                let _ = fs::remove_dir(child.path());
            }
        }
        Ok(Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                executions: AtomicU64::new(0),
                left: Mutex::default(),
            }),
        })
    }

    /// Moves a process that has not started working into its own group.
    pub(crate) fn take(&self, process: Pid) -> io::Result<Group> {
        let shared = &self.shared;
        shared.remove_left();
        let number = shared.executions.fetch_add(1, Ordering::Relaxed);
        let name = format!("{CHILD}{}-{number}", std::process::id());
        let dir = shared.dir.join(name);
        DirBuilder::new().create(&dir)?;
        let group = Group {
            dir,
            shared: Arc::clone(shared),
        };
        let number = process.as_raw_nonzero().to_string();
        fs::write(group.dir.join("cgroup.procs"), number)?;
        Ok(group)
    }
}

impl Shared {
    fn remove_left(&self) {
        let mut left = self.left.lock();
        left.retain(|dir| is_busy(&fs::remove_dir(dir)));
    }
}

fn is_busy(removed: &io::Result<()>) -> bool {
    let error = removed.as_ref().err().and_then(io::Error::raw_os_error);
    error == Some(Errno::BUSY.raw_os_error())
}

/// The group of one execution. Its directory is removed on drop, or later once all left-behind
/// processes have exited.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    shared: Arc<Shared>,
}

impl Group {
    /// Kills all processes in the group, including those that left the plugin's process group.
    pub(crate) fn kill(&self) {
        // Requires Linux 5.14; before, only the process group is killed.
        let _ = fs::write(self.dir.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if is_busy(&fs::remove_dir(&self.dir)) {
            let mut left = self.shared.left.lock();
            left.push(std::mem::take(&mut self.dir));
        }
    }
}
