//! Reads the table of a pod's namespace, if it is still that pod's.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Pod;
use crate::adapters::pod_network::identity;

const TABLE: &str = "/proc/thread-self/net/dev";
/// Enough for two thousand interfaces.
const MAX_TABLE: u64 = 256 << 10;

/// The node's file system, as the daemon sees it.
#[derive(Debug)]
pub(super) struct Files {
    root: Option<OwnedFd>,
}

impl Files {
    /// Opens the node's root directory; `None` is the daemon's own.
    pub(super) fn below(root: Option<&Path>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |dir: &Path| rustix::fs::open(dir, flags, Mode::empty());
        Ok(Self {
            root: root.map(open).transpose()?,
        })
    }

    /// Opens a namespace by its path on the node. Non-blocking, so that a FIFO at the path cannot
    /// stall the thread.
    fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match &self.root {
            // A process has the same path in the daemon's `/proc`, and cannot be reached below
            // another root: its namespaces are no ordinary links.
            Some(root) if !path.starts_with("/proc") => {
                openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
            }
            _ => rustix::fs::open(path, flags, Mode::empty()),
        };
        Ok(File::from(opened?))
    }

    /// Reads the table of a pod's namespace. The calling thread is in that namespace afterwards: it
    /// must not be used for anything else.
    pub(super) fn read(&self, pod: &Pod) -> io::Result<String> {
        let file = self.open(&pod.netns)?;
        let is_same = |cookie: Option<u64>| -> io::Result<bool> {
            Ok(pod.namespace.is(&identity::found(&file, cookie)?))
        };
        // The node's own namespace has no recorded attachment: an entry never has its identity.
        if !identity::is_namespace(&file) || !is_same(None)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        // Inodes are reused within a boot; cookies are not.
        if !is_same(identity::cookie()?)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut table = Vec::new();
        File::open(TABLE)?.take(MAX_TABLE).read_to_end(&mut table)?;
        Ok(String::from_utf8_lossy(&table).into_owned())
    }
}
