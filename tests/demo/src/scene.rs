//! The node before the first call: links, two networks, three pods and the policies.

use node::{Node, Pod, Sandbox};
use serde_json::json;

use crate::Error;

/// The node's address on the default network.
pub(crate) const DEFAULT_GATEWAY: &str = "10.244.0.1";
/// The node's address on the storage network.
pub(crate) const STORAGE_GATEWAY: &str = "192.168.50.1";
/// The storage address that pod `web` requests and gets.
pub(crate) const WEB_ADDRESS: &str = "192.168.50.20/24";
/// The address that pod `intruder` requests and is denied.
pub(crate) const FORBIDDEN_ADDRESS: &str = "192.168.50.250/24";
/// The storage network's default MTU.
pub(crate) const STORAGE_MTU: u64 = 9000;
/// The MTU that pod `web` requests.
pub(crate) const WEB_MTU: u64 = 1400;
/// The nameserver that a policy adds to the first network.
pub(crate) const NAME_SERVER: &str = "10.244.0.53";
/// The time limit of the policy that never returns, in milliseconds.
pub(crate) const DEADLINE_MS: u64 = 300;

/// The three pods' sandboxes.
pub(crate) struct Pods {
    /// Gets two networks.
    pub(crate) web: Sandbox,
    /// Requests an address that its namespace may not use.
    pub(crate) intruder: Sandbox,
    /// Is subject to a policy that never returns.
    pub(crate) patient: Sandbox,
}

/// Prepares everything except the daemon.
pub(crate) fn set(node: &mut Node) -> Result<Pods, Error> {
    wire()?;
    networks(node)?;
    policies(node)?;
    let storage = |address: &str| {
        json!([{ "name": "storage", "namespace": "shop", "ips": [address] }]).to_string()
    };
    Ok(Pods {
        web: node.add_pod(
            Pod::new("shop", "web")
                .networks(&storage(WEB_ADDRESS))
                .annotation("cnidaria.dev/mtu", &format!("net1={WEB_MTU}")),
        )?,
        intruder: node
            .add_pod(Pod::new("visitors", "intruder").networks(&storage(FORBIDDEN_ADDRESS)))?,
        patient: node.add_pod(Pod::new("lab", "patient"))?,
    })
}

/// The node's second network card, connected to the storage: a veth pair whose far end responds as
/// the storage would.
fn wire() -> Result<(), Error> {
    let mtu = STORAGE_MTU.to_string();
    let address = format!("{STORAGE_GATEWAY}/24");
    for command in [
        &[
            "link", "add", "uplink", "mtu", &mtu, "type", "veth", "peer", "name", "storage", "mtu",
            &mtu,
        ][..],
        &["address", "add", &address, "dev", "storage"],
        &["link", "set", "uplink", "up"],
        &["link", "set", "storage", "up"],
    ] {
        node::run("ip", command)?;
    }
    Ok(())
}

fn networks(node: &Node) -> Result<(), Error> {
    node.set_default_network(&json!({
        "cniVersion": "1.0.0",
        "name": "default",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": node.path("ipam"),
                "ranges": [[{ "subnet": "10.244.0.0/24" }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    }))?;
    node.add_network(
        "shop",
        "storage",
        &json!({
            "cniVersion": "1.0.0",
            "name": "storage",
            "type": "macvlan",
            "master": "uplink",
            "mode": "bridge",
            "mtu": STORAGE_MTU,
            "capabilities": { "ips": true },
            "ipam": {
                "type": "host-local",
                "dataDir": node.path("ipam"),
                "ranges": [[{ "subnet": "192.168.50.0/24" }]],
            },
        }),
    )?;
    Ok(())
}

fn policies(node: &mut Node) -> Result<(), Error> {
    node.add_policy(
        "10-address-guard",
        "address-guard",
        &json!({ "settings": { "namespaces": {
            "shop": ["192.168.50.0/25"],
            "visitors": ["192.168.50.128/26"],
        } } }),
    )?;
    node.add_policy(
        "20-annotation-mtu",
        "annotation-mtu",
        &json!({ "settings": { "min": 1280, "max": STORAGE_MTU } }),
    )?;
    node.add_policy(
        "30-dns-inject",
        "dns-inject",
        &json!({ "settings": { "nameservers": [NAME_SERVER] } }),
    )?;
    node.add_policy(
        "40-endless",
        "hostile-misbehave",
        &json!({
            "settings": { "do": "spin" },
            "match": { "namespaces": ["lab"] },
            "limits": { "timeoutMs": DEADLINE_MS },
        }),
    )?;
    Ok(())
}
