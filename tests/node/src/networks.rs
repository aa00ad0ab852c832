//! Networks for the cases: the default network and two more on real plugins, and failing delegates.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::Error;
use crate::node::Node;
use crate::program::run;

/// The fake delegate's plugin type.
pub const FAKE: &str = "fake";

/// A `bridge` conf with host-local addresses. The bridge, `name`, gets the first address.
pub fn bridge(node: &Node, name: &str, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": name,
        "type": "bridge",
        "bridge": name,
        "isGateway": true,
        "capabilities": { "ips": true, "mac": true },
        "ipam": ipam(node, subnet),
    })
}

/// A `macvlan` conf over a link of the node, with host-local addresses.
pub fn macvlan(node: &Node, name: &str, master: &str, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": name,
        "type": "macvlan",
        "master": master,
        "mode": "bridge",
        "ipam": ipam(node, subnet),
    })
}

/// A conf of the fake delegate; its README describes the instructions.
pub fn fake(name: &str, instructions: &Value) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": name,
        "type": FAKE,
        "fake": instructions,
    })
}

fn ipam(node: &Node, subnet: &str) -> Value {
    json!({
        "type": "host-local",
        "dataDir": node.path("ipam"),
        "ranges": [[{ "subnet": subnet }]],
    })
}

/// Prepares the node for most cases: the default network `cluster` with a default route
/// (10.77.0.0/24), the networks `default/blue` (bridge, 10.78.0.0/24) and `default/storage` (macvlan,
/// 10.79.0.0/24), and the fake delegate beside the reference plugins.
///
/// # Errors
/// [`Error::Failed`] when a link cannot be created, [`Error::File`] when a file cannot be written.
pub fn prepare(node: &mut Node) -> Result<(), Error> {
    link_plugins(node)?;
    let mut cluster = bridge(node, "cluster", "10.77.0.0/24");
    if let Some(Value::Object(ipam)) = cluster.get_mut("ipam") {
        ipam.insert("routes".to_owned(), json!([{ "dst": "0.0.0.0/0" }]));
    }
    node.set_default_network(&cluster)?;
    node.add_network("default", "blue", &bridge(node, "blue", "10.78.0.0/24"))?;
    add_wire("uplink", "storage")?;
    let storage = macvlan(node, "storage", "uplink", "10.79.0.0/24");
    node.add_network("default", "storage", &storage)
}

/// Creates a network card connected to a peer that responds: a veth pair.
///
/// # Errors
/// [`Error::Failed`] when the pair cannot be created.
pub fn add_wire(near: &str, far: &str) -> Result<(), Error> {
    run(
        "ip",
        &["link", "add", near, "type", "veth", "peer", "name", far],
    )?;
    for link in [near, far] {
        run("ip", &["link", "set", link, "up"])?;
    }
    Ok(())
}

/// Links the reference plugins and the fake delegate into one directory.
fn link_plugins(node: &mut Node) -> Result<(), Error> {
    let directory = node.path("bin");
    fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
    let plugins = node.plugins();
    let plugins = Path::new(&plugins);
    for entry in fs::read_dir(plugins).map_err(Error::file(plugins))? {
        let entry = entry.map_err(Error::file(plugins))?;
        let link = directory.join(entry.file_name());
        symlink(entry.path(), &link).map_err(Error::file(&link))?;
    }
    let link = directory.join(FAKE);
    symlink(node.binaries().fake_delegate()?, &link).map_err(Error::file(&link))?;
    node.set_plugins(&directory);
    Ok(())
}
