//! Identifies network namespaces, and recognises the node's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::FsWord;
use rustix::io::Errno;
use shim_api::deferred::{self, NetnsId};
use tokio::net::TcpSocket;

use cnidaria_core::domain::namespace::Namespace;

/// Magic number of the namespace file system, `NSFS_MAGIC` in `magic.h`.
const NSFS: FsWord = 0x6e73_6673;
/// The namespaces of this thread and, in the node's PID namespace, of the node.
const NODE: [&str; 2] = ["/proc/thread-self/ns/net", "/proc/1/ns/net"];

/// Namespaces that no pod has: the daemon's own and that of process 1.
#[derive(Debug, Default)]
pub(super) struct Node(Vec<NetnsId>);

impl Node {
    /// Finds them in the calling thread's `/proc`.
    pub(super) fn find() -> Self {
        let found = NODE.iter().filter_map(|path| NetnsId::at(Path::new(path)));
        Self(found.collect())
    }

    /// Whether the file is one of them.
    pub(super) fn is(&self, file: &File) -> io::Result<bool> {
        let id = NetnsId::of(&file.metadata()?);
        Ok(self.0.contains(&id))
    }

    /// The identity of a pod's namespace.
    pub(super) fn namespace(&self, file: &File, cookie: Option<u64>) -> io::Result<Namespace> {
        found(file, cookie)
    }
}

/// The identity of a namespace that was opened.
pub(in crate::adapters) fn found(file: &File, cookie: Option<u64>) -> io::Result<Namespace> {
    Ok(Namespace {
        boot_id: boot_id().to_owned(),
        file: NetnsId::of(&file.metadata()?),
        cookie,
        added_at: None,
    })
}

/// The kernel's id of this boot.
pub(super) fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let id = deferred::boot_id();
        if id == deferred::UNKNOWN_BOOT {
            tracing::error!("cannot read the boot id: attachments of an earlier boot pass for present ones while something is at their path");
        }
        id
    })
}

/// Whether a file is a namespace, rather than a leftover mount point.
pub(in crate::adapters) fn is_namespace(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == NSFS)
}

/// Whether nothing is at the path: it does not exist, cannot exist, or belonged to a process that is
/// gone.
pub(super) fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::NOENT
                | Errno::NOTDIR
                | Errno::SRCH
                | Errno::NXIO
                | Errno::LOOP
                | Errno::NAMETOOLONG
        )
    )
}

/// The cookie of this thread's network namespace; `None` if the kernel does not support it.
pub(in crate::adapters) fn cookie() -> io::Result<Option<u64>> {
    /// `SO_NETNS_COOKIE` in the kernel's `socket.h`, since Linux 5.14.
    const NETNS_COOKIE: libc::c_int = 71;
    let socket = TcpSocket::new_v4()?;
    let mut cookie: u64 = 0;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or_default();
    #[expect(unsafe_code, reason = "rustix has no call for this option")]
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has that size, and the
    // new length to `length`; both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Ok((done == 0).then_some(cookie))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_keeps_its_cookie() {
        assert_eq!(cookie().unwrap(), cookie().unwrap());
    }

    #[test]
    fn a_dead_process_has_no_namespace() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let path = format!("/proc/{}/ns/net", child.id());
        child.wait().unwrap();
        assert!(is_absent(&File::open(path).unwrap_err()));
    }
}
