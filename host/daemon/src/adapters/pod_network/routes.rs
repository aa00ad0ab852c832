//! The default routes of a namespace, through a netlink socket created inside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni_types::args::IfName;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

/// Makes `gateway` on `if_name` the only default route of its address family.
pub(super) async fn replace_default_routes(
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

/// The main table's default routes of the same address family as `like`.
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
