//! Detects whether a container's network namespace is gone, and provides a stand-in for plugins
//! that need one to undo what is outside it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use cni_types::args::IfName;
use rustix::fs::FsWord;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

use crate::root::Root;

/// The file system type of namespaces: `NSFS_MAGIC` of the kernel's `magic.h`.
const NSFS: FsWord = 0x6e73_6673;

/// Whether `CNI_NETNS`, resolved in `root`, is not a network namespace: empty (specification,
/// section 2), missing, or a leftover mount point file.
pub async fn is_gone(netns: &str, root: Option<&Root>) -> bool {
    let path = netns.to_owned();
    let look = move || match rustix::fs::statfs(path) {
        Ok(found) => found.f_type != NSFS,
        Err(error) => matches!(error, Errno::NOENT | Errno::NOTDIR),
    };
    match root {
        _ if netns.is_empty() => true,
        None => look(),
        Some(root) => root.run(look).await.unwrap_or(false),
    }
}

/// A namespace that contains only an interface without addresses; it lives as long as this value.
/// The interface is the renamed loopback: plugins find it, and the kernel does not let it be moved
/// out.
#[derive(Debug)]
pub(crate) struct StandIn {
    file: File,
}

impl StandIn {
    /// Creates a namespace without processes.
    ///
    /// # Errors
    /// When the caller lacks `CAP_SYS_ADMIN`.
    pub(crate) fn with(interface: &IfName) -> io::Result<Self> {
        let interface = interface.clone();
        let made = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || {
                unshare()?;
                rename_loopback(&interface)?;
                File::open("/proc/thread-self/ns/net")
            })?;
        let file = made
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;
        Ok(Self { file })
    }

    /// A path that other processes on this machine can open.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

/// Renames interface 1 of this thread's namespace with one netlink message.
fn rename_loopback(name: &IfName) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // `NETLINK_ROUTE` is protocol 0, the default.
        None,
    )?;
    rustix::net::send(&socket, &set_name(1, name.as_str()), SendFlags::empty())?;
    let mut answer = [0; 256];
    rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // The reply is an `nlmsgerr`: after the 16-byte header, the error; 0 means success.
    match answer.get(16..20).map(<[u8; 4]>::try_from) {
        Some(Ok([0, 0, 0, 0])) => Ok(()),
        Some(Ok(error)) => Err(io::Error::from_raw_os_error(
            i32::from_ne_bytes(error).saturating_neg(),
        )),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `RTM_SETLINK` with `IFLA_IFNAME` (rtnetlink(7)), requesting an acknowledgement.
fn set_name(index: i32, name: &str) -> Vec<u8> {
    const SETLINK: u16 = 19;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFNAME: u16 = 3;
    // `ifinfomsg`: family, padding, type, index, flags, change.
    let mut body = [[0; 4], index.to_ne_bytes(), [0; 4], [0; 4]].concat();
    // The attribute: length including header and terminating NUL, type, name; padded to four bytes.
    let length = u16::try_from(4 + name.len() + 1).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(IFNAME.to_ne_bytes());
    body.extend(name.as_bytes());
    body.push(0);
    body.resize(body.len().next_multiple_of(4), 0);
    // `nlmsghdr`: length, type, flags, sequence number, port.
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SETLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Moves this thread alone into a new network namespace.
#[expect(
    unsafe_code,
    reason = "rustix has no safe form for a part of the flags"
)]
fn unshare() -> io::Result<()> {
    // SAFETY: `unshare` is unsafe for flags that take away state other code on the thread may rely
    // on, such as the file descriptor table. `NEWNET` only changes where sockets are created, and
    // this thread creates one for itself.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_namespace_is_one() {
        assert!(!is_gone("/proc/self/ns/net", None).await);
        let file = tempfile::NamedTempFile::new().unwrap();
        for gone in [
            "",
            "/nonexistent",
            "/dev/null/x",
            file.path().to_str().unwrap(),
        ] {
            assert!(is_gone(gone, None).await, "{gone}");
        }
    }

    #[test]
    fn stand_in_netns_has_only_the_interface() {
        let name = IfName::new("net1").unwrap();
        let stand_in = match StandIn::with(&name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: needs CAP_SYS_ADMIN");
                return;
            }
            made => made.unwrap(),
        };
        let at = |path: &str| {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(path).unwrap().ino()
        };
        assert_ne!(at(&stand_in.path()), at("/proc/self/ns/net"));
        assert_eq!(at("/proc/thread-self/ns/net"), at("/proc/self/ns/net"));
        let namespace = format!("--net={}", stand_in.path());
        let links = std::process::Command::new("nsenter")
            .args([&namespace, "cat", "/proc/net/dev"])
            .output()
            .unwrap();
        let links = String::from_utf8(links.stdout).unwrap();
        // After a two-line header.
        let names = links.lines().skip(2).map(|line| line.split(':').next());
        let names: Vec<_> = names.flatten().map(str::trim).collect();
        assert_eq!(names, ["net1"]);
    }
}
