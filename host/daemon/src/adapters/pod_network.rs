//! Looking into and changing the network namespace of a pod, by netlink.
//!
//! A namespace is entered by a thread of its own, which then ends: a thread that failed to find its
//! way back would execute everything after that in the wrong namespace. Sockets that it made stay
//! in the namespace, and are used from outside.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;

use async_trait::async_trait;
use cni_types::args::IfName;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use rustix::thread::LinkNameSpaceType;
use tokio::sync::oneshot;

use crate::ports::{PodNetwork, PodNetworkError};

/// The networks of pods on this node.
#[derive(Debug, Default)]
pub struct Netlink;

#[async_trait]
impl PodNetwork for Netlink {
    async fn existing(
        &self,
        netns: &Path,
        names: &[IfName],
    ) -> Result<Vec<IfName>, PodNetworkError> {
        let names = names.to_vec();
        inside(netns, move || {
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::DGRAM,
                None,
            )?;
            let is_there = |name: &IfName| {
                rustix::net::netdevice::name_to_index(&socket, name.as_str()).is_ok()
            };
            Ok(names.into_iter().filter(is_there).collect())
        })
        .await
    }

    async fn set_default_route(
        &self,
        netns: &Path,
        if_name: &IfName,
        gateway: IpAddr,
    ) -> Result<(), PodNetworkError> {
        let (connection, handle, _) = inside(netns, rtnetlink::new_connection).await?;
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

/// Runs `work` on a thread inside the namespace.
async fn inside<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, PodNetworkError> {
    let failed = |source| PodNetworkError::Namespace {
        path: netns.to_owned(),
        source,
    };
    let namespace = File::open(netns).map_err(failed)?;
    let runtime = tokio::runtime::Handle::current();
    let (done, outcome) = oneshot::channel();
    std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(move || {
            // Sockets that `work` makes belong to the runtime.
            let _runtime = runtime.enter();
            let entered = rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(LinkNameSpaceType::Network),
            );
            // Nobody waits any more when the request was given up.
            let _ = done.send(entered.map_err(io::Error::from).and_then(|()| work()));
        })
        .map_err(failed)?;
    outcome
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        .map_err(failed)
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
