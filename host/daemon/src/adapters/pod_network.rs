//! Looking into and changing the network namespace of a pod, by netlink.
//!
//! A namespace is entered by whichever thread needs to, for a few system calls in which it does nothing
//! else, and left before the thread does anything else: to hand that to another thread and to wait for
//! it takes several times as long. Sockets that were made inside stay there, and are used from outside.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use async_trait::async_trait;
use cni_types::args::IfName;
use futures_util::TryStreamExt;
use libcni::Root;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;
use shim_api::deferred::NetnsId;
use tokio::net::TcpSocket;

use crate::ports::{PodNetwork, PodNetworkError};

/// The networks of pods on this node.
#[derive(Debug, Default)]
pub struct Netlink {
    /// The namespace of this process; opened with the first visit to another one.
    home: OnceLock<File>,
    /// Where paths of namespaces are meant; the daemon's own root where absent.
    root: Option<Root>,
}

#[async_trait]
impl PodNetwork for Netlink {
    async fn existing(
        &self,
        netns: &Path,
        names: &[IfName],
    ) -> Result<Vec<IfName>, PodNetworkError> {
        let names = names.to_vec();
        self.inside(netns, move || {
            let mut existing = Vec::new();
            for name in names {
                if has_interface(name.as_str())? {
                    existing.push(name);
                }
            }
            Ok(existing)
        })
        .await
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

/// Whether the thread's namespace has an interface. Binding a socket to it, of all ways to ask, is the
/// one that neither waits for others who change links nor lets the kernel look for a module of the
/// name where there is none, which is the rule, and pods choose the names.
fn has_interface(name: &str) -> io::Result<bool> {
    match TcpSocket::new_v4()?.bind_device(Some(name.as_bytes())) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Netlink {
    /// Opens namespaces below another root directory: the runtime names them as the node has them.
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

    /// Runs `work` inside the namespace. It has to be short, and cannot wait for anything.
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

    fn home(&self) -> io::Result<&File> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let home = File::open("/proc/thread-self/ns/net")?;
        Ok(self.home.get_or_init(|| home))
    }
}

/// Opens a namespace. Whatever else is at the path must not keep the thread: a pipe would, until
/// somebody writes to it.
fn open(netns: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(netns)
}

/// Brings the thread back, also when what it did inside panics.
struct Back<'a>(&'a File);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Err(error) = enter(self.0) {
            // Whatever this thread did next would be done to the pod's network instead of the node's.
            tracing::error!(%error, "cannot leave the network namespace of a pod");
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

async fn replace_default_routes(
    handle: &Handle,
    if_name: &IfName,
    gateway: IpAddr,
) -> Result<(), rtnetlink::Error> {
    let mut links = handle
        .link()
        .get()
        .match_name(if_name.to_string())
        .execute();
    let index = links
        .try_next()
        .await?
        .map(|link| link.header.index)
        .unwrap_or_default();
    let mut is_set = false;
    for route in default_routes(handle, gateway).await? {
        if leads_through(&route, index, gateway) {
            is_set = true;
        } else {
            handle.route().del(route).execute().await?;
        }
    }
    if is_set {
        return Ok(());
    }
    let route = match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(index)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(gateway)
            .output_interface(index)
            .build(),
    };
    handle.route().add(route).execute().await
}

/// The default routes of the main table, of the address family of `like`.
async fn default_routes(
    handle: &Handle,
    like: IpAddr,
) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    let wanted = match like {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let routes: Vec<RouteMessage> = handle.route().get(wanted).execute().try_collect().await?;
    let is_default = |route: &RouteMessage| {
        route.header.destination_prefix_length == 0
            && route.header.table == RouteHeader::RT_TABLE_MAIN
            && route.header.kind == RouteType::Unicast
    };
    Ok(routes.into_iter().filter(is_default).collect())
}

fn leads_through(route: &RouteMessage, index: u32, gateway: IpAddr) -> bool {
    let has = |wanted: &RouteAttribute| route.attributes.contains(wanted);
    let gateway = match gateway {
        IpAddr::V4(gateway) => RouteAddress::Inet(gateway),
        IpAddr::V6(gateway) => RouteAddress::Inet6(gateway),
    };
    has(&RouteAttribute::Oif(index)) && has(&RouteAttribute::Gateway(gateway))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const OWN: &str = "/proc/self/ns/net";

    /// Which of some names are interfaces here; `None` where this process may not enter a
    /// namespace, not even its own.
    async fn existing(netlink: &Netlink) -> Option<Vec<String>> {
        let names = ["lo", "l", "lo0", "no-such-thing"].map(|name| IfName::new(name).unwrap());
        match netlink.existing(Path::new(OWN), &names).await {
            Ok(found) => Some(found.iter().map(ToString::to_string).collect()),
            Err(PodNetworkError::Namespace { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn interfaces_are_found_by_their_whole_names() {
        let netlink = Netlink::default();
        // Twice: once with the own namespace opened already.
        for _ in 0..2 {
            if let Some(found) = existing(&netlink).await {
                assert_eq!(found, ["lo"]);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_namespace_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/nonexistent")] {
            let names = [IfName::new("lo").unwrap()];
            let outcome = Netlink::default().existing(path, &names).await;
            assert!(
                matches!(outcome, Err(PodNetworkError::Namespace { .. })),
                "{path:?}"
            );
        }
    }

    /// The namespace of this thread.
    fn current() -> PathBuf {
        std::fs::read_link("/proc/thread-self/ns/net").unwrap()
    }

    /// A thread that may, is in a namespace of its own; its namespace is given.
    fn elsewhere() -> Option<(File, PathBuf)> {
        let made = std::thread::spawn(|| {
            let flags = rustix::thread::UnshareFlags::NEWNET;
            // Of this thread alone, which ends.
            #[expect(unsafe_code, reason = "the call has no safe form")]
            // SAFETY: a network namespace has nothing to do with what is shared in memory.
            let made = unsafe { rustix::thread::unshare_unsafe(flags) };
            made.ok()
                .map(|()| (File::open("/proc/thread-self/ns/net").unwrap(), current()))
        });
        made.join().unwrap()
    }

    #[test]
    fn a_thread_is_back_home_after_each_visit_even_when_it_panics() {
        let Some((there, name)) = elsewhere() else {
            // It takes the right to make namespaces; tests/node has a node where everybody may.
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
