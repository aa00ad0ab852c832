//! What the pod really has, and what the cluster sees.

use node::{Node, Sandbox, inspect};
use serde_json::Value;

use crate::scene::{DEFAULT_GATEWAY, STORAGE_GATEWAY, WEB_ADDRESS, WEB_MTU};
use crate::{Error, expect, screen};

pub(crate) fn show(node: &Node, web: &Sandbox) -> Result<(), Error> {
    screen::step(
        "Inside the pod",
        "As the kernel sees it: links, addresses and routes in the pod's namespace, and a ping over \
         each network.",
    );
    links(web)?;
    routes(web)?;
    status(node, web)?;
    println!();
    for (link, gateway) in [("eth0", DEFAULT_GATEWAY), ("net1", STORAGE_GATEWAY)] {
        let time = inspect::ping(&web.netns_name, link, gateway)?;
        screen::good(&format!("ping {gateway} over {link}: {time}"));
    }
    screen::good(&format!(
        "net1 has an MTU of {WEB_MTU} and the address {WEB_ADDRESS}"
    ));
    Ok(())
}

fn links(web: &Sandbox) -> Result<(), Error> {
    let links = inspect::links(Some(&web.netns_name))?;
    let rows: Vec<_> = links
        .iter()
        .map(|link| {
            vec![
                link.name.clone(),
                link.kind.clone(),
                link.mtu.to_string(),
                link.mac.clone(),
                link.addresses.join(" "),
            ]
        })
        .collect();
    screen::table(&["link", "kind", "MTU", "MAC", "addresses"], &rows);

    let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    expect::equal("links of the pod", &names, &vec!["eth0", "net1"])?;
    let mtus: Vec<_> = links.iter().map(|link| link.mtu).collect();
    expect::equal("MTUs of the pod", &mtus, &vec![1500, WEB_MTU])?;
    let second: Vec<_> = links.iter().skip(1).flat_map(|l| &l.addresses).collect();
    expect::equal("addresses of net1", &second, &vec![&WEB_ADDRESS.to_owned()])
}

fn routes(web: &Sandbox) -> Result<(), Error> {
    let routes = inspect::routes(&web.netns_name)?;
    let rows: Vec<_> = routes
        .iter()
        .map(|route| {
            let gateway = route.gateway.clone();
            vec![
                route.destination.clone(),
                gateway.unwrap_or_else(|| "–".to_owned()),
                route.link.clone(),
            ]
        })
        .collect();
    screen::table(&["route", "gateway", "link"], &rows);

    let defaults: Vec<_> = routes
        .iter()
        .filter(|route| route.destination == "default")
        .map(|route| (route.gateway.as_deref(), route.link.as_str()))
        .collect();
    expect::equal(
        "default routes of the pod",
        &defaults,
        &vec![(Some(DEFAULT_GATEWAY), "eth0")],
    )
}

fn status(node: &Node, web: &Sandbox) -> Result<(), Error> {
    let status = node.network_status(&web.pod)?;
    screen::json("k8s.v1.cni.cncf.io/network-status", &status);
    let names: Vec<_> = status
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| (expect::text(one, "/name"), expect::text(one, "/interface")))
        .collect();
    expect::equal(
        "networks of the network-status",
        &names,
        &vec![("default", "eth0"), ("shop/storage", "net1")],
    )?;
    expect::equal(
        "address of net1 in the network-status",
        &status.pointer("/1/ips/0").and_then(Value::as_str),
        &WEB_ADDRESS.split('/').next(),
    )
}
