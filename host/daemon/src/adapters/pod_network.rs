//! Looking into and changing the network namespace of a pod, by netlink.
//!
//! Namespaces are entered by one thread that does nothing else. It goes home after each visit, so that
//! it keeps no namespace alive; should it not find its way back it ends, and the next visit has a new
//! one. Each visit begins by entering, so none is ever made in the wrong namespace. Sockets that it made
//! stay in the namespace, and are used from outside.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};

use async_trait::async_trait;
use cni_types::args::IfName;
use futures_util::TryStreamExt;
use libcni::Root;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use crate::ports::{PodNetwork, PodNetworkError};

/// What is done on the thread that enters namespaces.
type Visit = Box<dyn FnOnce() + Send>;

/// The networks of pods on this node.
#[derive(Debug, Default)]
pub struct Netlink {
    /// The thread that enters namespaces; none before the first visit.
    visitor: Mutex<Option<mpsc::Sender<Visit>>>,
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
            None => File::open(path),
            Some(root) => root.run(move || File::open(path)).await?,
        }
    }

    /// Runs `work` inside the namespace, on another thread.
    async fn inside<T: Send + 'static>(
        &self,
        netns: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, PodNetworkError> {
        let failed = |source| PodNetworkError::Namespace {
            path: netns.to_owned(),
            source,
        };
        let namespace = self.open(netns).await.map_err(failed)?;
        let runtime = tokio::runtime::Handle::current();
        let (done, outcome) = oneshot::channel();
        let visit = move || {
            // Sockets that `work` makes belong to the runtime.
            let _runtime = runtime.enter();
            // Nobody waits any more when the request was given up.
            let _ = done.send(enter(&namespace).and_then(|()| work()));
        };
        self.visit(Box::new(visit)).map_err(failed)?;
        outcome
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the thread that entered it ended")))
            .map_err(failed)
    }

    /// Hands a visit to the thread, starting one where there is none or it ended.
    fn visit(&self, visit: Visit) -> io::Result<()> {
        let mut visitor = self.visitor.lock().unwrap_or_else(PoisonError::into_inner);
        let visit = match visitor.as_ref() {
            Some(visits) => match visits.send(visit) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(visit)) => visit,
            },
            None => visit,
        };
        let (visits, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || make_visits(&queue))?;
        let _ = visits.send(visit);
        *visitor = Some(visits);
        Ok(())
    }
}

/// The thread: one visit after the other, and home after each.
fn make_visits(visits: &mpsc::Receiver<Visit>) {
    let Ok(home) = File::open("/proc/thread-self/ns/net") else {
        return;
    };
    for visit in visits {
        visit();
        if enter(&home).is_err() {
            return;
        }
    }
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
        // Twice: the thread that entered is kept.
        for _ in 0..2 {
            if let Some(found) = existing(&netlink).await {
                assert_eq!(found, ["lo"]);
            }
        }
    }

    #[tokio::test]
    async fn a_thread_that_ended_is_replaced() {
        let netlink = Netlink::default();
        let (ended, queue) = mpsc::channel();
        drop(queue);
        *netlink.visitor.lock().unwrap() = Some(ended);
        if let Some(found) = existing(&netlink).await {
            assert_eq!(found, ["lo"]);
        }
    }
}
