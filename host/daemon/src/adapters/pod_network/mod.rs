//! Inspects and changes pods' network namespaces through netlink.
//!
//! The current thread enters a namespace for a few system calls and leaves it before doing anything
//! else: passing the work to another thread and waiting for it takes several times as long. Sockets
//! created inside stay there and are used from outside.

pub(super) mod identity;
mod inhabitants;
mod routes;

use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use async_trait::async_trait;
use cni_types::args::IfName;
use libcni::Root;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;
use shim_api::deferred::{NetnsId, may_be_same_boot};
use tokio::net::TcpSocket;

use self::identity::Node;
use self::routes::replace_default_routes;
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::ports::{AtPath, Inside, PodNetwork, PodNetworkError};

/// The networks of pods on this node.
#[derive(Debug, Default)]
pub struct Netlink {
    /// This process's namespace, opened on the first visit to another one.
    home: OnceLock<File>,
    /// The root directory for namespace paths; the daemon's own if absent.
    root: Option<Root>,
    /// The node's namespaces, which no pod may have.
    node: OnceLock<Node>,
}

#[async_trait]
impl PodNetwork for Netlink {
    async fn look(&self, netns: &Path, names: &[IfName]) -> Result<Inside, PodNetworkError> {
        let failed = |source| PodNetworkError::Namespace {
            path: netns.to_owned(),
            source,
        };
        let file = self.open(netns).await.map_err(failed)?;
        let (home, node) = (self.home().map_err(failed)?, self.node().await);
        if node.is(&file).map_err(failed)? {
            return Err(PodNetworkError::Node(netns.to_owned()));
        }
        let (cookie, existing) = visit(home, &file, || {
            let mut existing = Vec::new();
            for name in names {
                if has_interface(name.as_str())? {
                    existing.push(name.clone());
                }
            }
            Ok((identity::cookie()?, existing))
        })
        .map_err(failed)?;
        let namespace = node.namespace(&file, cookie).map_err(failed)?;
        Ok(Inside {
            namespace,
            existing,
        })
    }

    async fn at(&self, netns: &Path) -> Result<AtPath, PodNetworkError> {
        let failed = |source| PodNetworkError::Namespace {
            path: netns.to_owned(),
            source,
        };
        let file = match self.open(netns).await {
            Ok(file) => file,
            Err(error) if identity::is_absent(&error) => return Ok(AtPath::Nothing),
            Err(error) => return Err(failed(error)),
        };
        if !identity::is_namespace(&file) {
            return Ok(AtPath::Nothing);
        }
        let node = self.node().await;
        if node.is(&file).map_err(failed)? {
            return Ok(AtPath::Node);
        }
        // Without permission to enter, device and inode must suffice.
        let home = self.home().map_err(failed)?;
        let cookie = visit(home, &file, identity::cookie).ok().flatten();
        let namespace = node.namespace(&file, cookie).map_err(failed)?;
        Ok(AtPath::Pod(namespace))
    }

    async fn is_absent(&self, netns: &Path) -> bool {
        let path = netns.to_owned();
        let looked = move || is_absent_from_its_directory(&path);
        match &self.root {
            None => looked(),
            Some(root) => root.run(looked).await.unwrap_or(false),
        }
    }

    async fn has_processes(&self, netns: &Path) -> Result<bool, PodNetworkError> {
        let path = netns.to_owned();
        let look = move || match NetnsId::at(&path) {
            Some(namespace) => inhabitants::has_process(namespace),
            None => Ok(false),
        };
        self.look_around(look)
            .await
            .map_err(|source| PodNetworkError::Namespace {
                path: netns.to_owned(),
                source,
            })
    }

    async fn has_address(&self, address: IpAddr) -> Result<bool, PodNetworkError> {
        let failed = |path: &Path, source| PodNetworkError::Namespace {
            path: path.to_owned(),
            source,
        };
        let found = self.look_around(inhabitants::all).await;
        let found = found.map_err(|source| failed(Path::new("/proc"), source))?;
        for path in found {
            let file = match self.open(&path).await {
                // It is gone, and its addresses with it.
                Err(error) if identity::is_absent(&error) => continue,
                file => file.map_err(|source| failed(&path, source))?,
            };
            if !identity::is_namespace(&file) {
                continue;
            }
            let home = self.home().map_err(|source| failed(&path, source))?;
            let looked = visit(home, &file, || inhabitants::has_address(address));
            if looked.map_err(|source| failed(&path, source))? {
                return Ok(true);
            }
            // Requests go on between two.
            tokio::task::yield_now().await;
        }
        Ok(false)
    }

    fn is_of_earlier_boot(&self, namespace: &Namespace) -> bool {
        !namespace.is_identified() || !may_be_same_boot(&namespace.boot_id, identity::boot_id())
    }

    async fn identity(&self, netns: &Path) -> Option<NetnsId> {
        let path = netns.to_owned();
        match &self.root {
            None => NetnsId::at(&path),
            Some(root) => root.run(move || NetnsId::at(&path)).await.ok()?,
        }
    }

    async fn set_default_route(
        &self,
        netns: &Path,
        if_name: &IfName,
        gateway: IpAddr,
    ) -> Result<(), PodNetworkError> {
        let (connection, handle, _) = self.inside(netns, rtnetlink::new_connection).await?;
        let connection = tokio::spawn(connection);
        let done = replace_default_routes(&handle, if_name, gateway).await;
        connection.abort();
        done.map_err(|error| PodNetworkError::Netlink {
            action: format!("cannot make {gateway} on {if_name} the default gateway"),
            path: netns.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Whether the current namespace has an interface. Binding a socket to it neither waits for the
/// lock of link changes nor makes the kernel load a module of that name if the interface
/// does not exist, which is the usual case with names that pods choose.
fn has_interface(name: &str) -> io::Result<bool> {
    match TcpSocket::new_v4()?.bind_device(Some(name.as_bytes())) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Netlink {
    /// Opens namespaces below another root directory, since runtimes pass paths of the node.
    pub fn below(root: Option<Root>) -> Self {
        Self {
            root,
            ..Self::default()
        }
    }

    async fn open(&self, netns: &Path) -> io::Result<File> {
        let path = netns.to_owned();
        match &self.root {
            None => open(&path),
            Some(root) => root.run(move || open(&path)).await?,
        }
    }

    /// Runs `look` where the node's `/proc` and `/run` are.
    async fn look_around<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match &self.root {
            Some(root) => root.run(look).await?,
            None => tokio::task::spawn_blocking(look)
                .await
                .map_err(io::Error::other)?,
        }
    }

    /// Runs `work` inside the namespace. It must be short and must not block.
    async fn inside<T>(
        &self,
        netns: &Path,
        work: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, PodNetworkError> {
        let failed = |source| PodNetworkError::Namespace {
            path: netns.to_owned(),
            source,
        };
        let namespace = self.open(netns).await.map_err(failed)?;
        let home = self.home().map_err(failed)?;
        visit(home, &namespace, work).map_err(failed)
    }

    /// The node's namespaces, found on first use.
    async fn node(&self) -> &Node {
        if let Some(node) = self.node.get() {
            return node;
        }
        let found = match &self.root {
            None => Node::find(),
            Some(root) => root.run(Node::find).await.unwrap_or_default(),
        };
        self.node.get_or_init(|| found)
    }

    fn home(&self) -> io::Result<&File> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let home = File::open("/proc/thread-self/ns/net")?;
        Ok(self.home.get_or_init(|| home))
    }
}

/// The directory of a process goes with the process; that of other namespaces stays.
fn is_absent_from_its_directory(netns: &Path) -> bool {
    let dir = match netns.starts_with("/proc") {
        true => Some(Path::new("/proc/self")),
        false => netns.parent(),
    };
    let is_seen = dir.is_some_and(|dir| std::fs::metadata(dir).is_ok_and(|it| it.is_dir()));
    let is_there = || netns.symlink_metadata().is_ok();
    is_seen && !is_there()
}

/// Opens a namespace. Non-blocking, so that a FIFO at the path cannot stall the thread.
fn open(netns: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(netns)
}

/// Returns the thread to its namespace on drop, also after a panic.
struct Back<'a>(&'a File);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Err(error) = enter(self.0) {
            // The thread would do its further work in the pod's network instead of the node's.
            tracing::error!(%error, "a thread cannot leave the network namespace of a pod; aborting the daemon");
            std::process::abort();
        }
    }
}

fn visit<T>(home: &File, namespace: &File, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    enter(namespace)?;
    let _back = Back(home);
    work()
}

fn enter(namespace: &File) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const OWN: &str = "/proc/self/ns/net";

    /// Which of some names are interfaces here; `None` if this process may not enter even its own
    /// namespace.
    async fn existing(netlink: &Netlink) -> Option<Vec<String>> {
        let names = ["lo", "l", "lo0", "no-such-thing"].map(|name| IfName::new(name).unwrap());
        let namespace = netlink.open(Path::new(OWN)).await.unwrap();
        let looked = visit(netlink.home().unwrap(), &namespace, || {
            let mut found = names.to_vec();
            found.retain(|name| has_interface(name.as_str()).unwrap());
            Ok(found)
        });
        match looked {
            Ok(found) => Some(found.iter().map(ToString::to_string).collect()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_nodes_own_namespace_is_rejected() {
        let netlink = Netlink::default();
        assert_eq!(netlink.at(Path::new(OWN)).await.unwrap(), AtPath::Node);
        let looked = netlink.look(Path::new(OWN), &[]).await;
        assert!(
            matches!(looked, Err(PodNetworkError::Node(_))),
            "{looked:?}"
        );
    }

    #[tokio::test]
    async fn other_files_are_no_namespaces() {
        let netlink = Netlink::default();
        for path in ["/nonexistent", "/dev/null", "/"] {
            let found = netlink.at(Path::new(path)).await.unwrap();
            assert_eq!(found, AtPath::Nothing, "{path}");
        }
    }

    #[tokio::test]
    async fn absence_needs_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("leftover"), "").unwrap();
        let netlink = Netlink::default();
        for (name, expected) in [("gone", true), ("leftover", false), ("unmounted/a", false)] {
            let found = netlink.is_absent(&dir.path().join(name)).await;
            assert_eq!(found, expected, "{name}");
        }
        let ended = Path::new("/proc/4194304000/ns/net");
        assert!(netlink.is_absent(ended).await, "with its process");
    }

    #[tokio::test]
    async fn interfaces_are_found_by_their_whole_names() {
        let netlink = Netlink::default();
        // Twice: the second time, the own namespace is already open.
        for _ in 0..2 {
            if let Some(found) = existing(&netlink).await {
                assert_eq!(found, ["lo"]);
            }
        }
    }

    #[tokio::test]
    async fn a_path_without_a_namespace_fails_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/nonexistent")] {
            let names = [IfName::new("lo").unwrap()];
            let outcome = Netlink::default().look(path, &names).await;
            assert!(
                matches!(outcome, Err(PodNetworkError::Namespace { .. })),
                "{path:?}"
            );
        }
    }

    /// This thread's namespace.
    fn current() -> PathBuf {
        std::fs::read_link("/proc/thread-self/ns/net").unwrap()
    }

    /// Starts a thread in a namespace of its own, if permitted, and returns that namespace.
    fn elsewhere() -> Option<(File, PathBuf)> {
        let made = std::thread::spawn(|| {
            let flags = rustix::thread::UnshareFlags::NEWNET;
            // Unshares this thread only, which then ends.
            #[expect(unsafe_code, reason = "the call has no safe form")]
            // SAFETY: a network namespace does not affect memory shared with other threads.
            let made = unsafe { rustix::thread::unshare_unsafe(flags) };
            made.ok()
                .map(|()| (File::open("/proc/thread-self/ns/net").unwrap(), current()))
        });
        made.join().unwrap()
    }

    #[test]
    fn visit_restores_netns_even_after_panic() {
        let Some((there, name)) = elsewhere() else {
            // Creating namespaces needs a privilege; tests/node provides a node that grants it.
            return;
        };
        let before = current();
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        assert_eq!(visit(&home, &there, || Ok(current())).unwrap(), name);
        assert_eq!(current(), before);
        let failed = visit(&home, &there, || Err::<(), _>(io::ErrorKind::Other.into()));
        assert!(failed.is_err());
        assert_eq!(current(), before);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            visit::<()>(&home, &there, || panic!("inside"))
        }));
        assert!(panicked.is_err());
        assert_eq!(current(), before);
    }
}
