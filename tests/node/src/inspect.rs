//! Inspects the kernel and the file system: links, addresses, routes, files.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::node::Node;
use crate::program::run;

/// A network interface other than `lo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Name in its namespace.
    pub name: String,
    /// `veth`, `macvlan`, `bridge`, …
    pub kind: String,
    /// Hardware address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u64,
    /// Global addresses with their prefix lengths.
    pub addresses: Vec<String>,
}

/// A route of a namespace's main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination, `default` for the default route.
    pub destination: String,
    /// Next hop.
    pub gateway: Option<String>,
    /// Interface.
    pub link: String,
}

/// The links of the named namespace except `lo`; those of the node itself for `None`.
///
/// # Errors
/// [`Error::Failed`] when the namespace is gone.
pub fn links(netns: Option<&str>) -> Result<Vec<Link>, Error> {
    let links = show(netns, &["-details", "address", "show"])?;
    let text = |value: &Value, pointer: &str| {
        let value = value.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut links: Vec<Link> = elements(&links)
        .filter(|link| text(link, "/ifname") != "lo")
        .map(|link| Link {
            name: text(link, "/ifname"),
            kind: text(link, "/linkinfo/info_kind"),
            mac: text(link, "/address"),
            mtu: link.get("mtu").and_then(Value::as_u64).unwrap_or_default(),
            addresses: link
                .get("addr_info")
                .into_iter()
                .flat_map(elements)
                .filter(|address| text(address, "/scope") == "global")
                .map(|address| {
                    let length = address.get("prefixlen").and_then(Value::as_u64);
                    format!("{}/{}", text(address, "/local"), length.unwrap_or_default())
                })
                .collect(),
        })
        .collect();
    links.sort();
    Ok(links)
}

/// The IPv4 routes of the named namespace.
///
/// # Errors
/// [`Error::Failed`] when the namespace is gone.
pub fn routes(netns: &str) -> Result<Vec<Route>, Error> {
    let routes = show(Some(netns), &["route", "show"])?;
    let text = |route: &Value, key: &str| {
        let value = route.get(key).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    Ok(elements(&routes)
        .map(|route| Route {
            destination: text(route, "dst").unwrap_or_default(),
            gateway: text(route, "gateway"),
            link: text(route, "dev").unwrap_or_default(),
        })
        .collect())
}

/// Pings an address once from inside a namespace over one interface. Returns the round-trip time as
/// ping prints it.
///
/// # Errors
/// [`Error::Failed`] when no reply arrives.
pub fn ping(netns: &str, link: &str, address: &str) -> Result<String, Error> {
    let namespace = format!("--net=/run/netns/{netns}");
    let arguments = [
        &namespace, "ping", "-n", "-c", "1", "-W", "2", "-I", link, address,
    ];
    let output = run("nsenter", &arguments)?;
    let time = output.split("time=").nth(1);
    Ok(time
        .and_then(|rest| rest.lines().next())
        .unwrap_or("no time")
        .to_owned())
}

fn show(netns: Option<&str>, arguments: &[&str]) -> Result<Value, Error> {
    let mut all = vec!["-json"];
    all.extend(netns.iter().flat_map(|name| ["-n", name]));
    all.extend(arguments);
    let output = run("ip", &all)?;
    serde_json::from_str(&output).map_err(|source| Error::Json {
        what: format!("ip {}", all.join(" ")),
        text: output,
        source,
    })
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Every file below a directory: contents by relative path.
///
/// # Errors
/// [`Error::File`] when a file cannot be read.
pub fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).map_err(Error::file(&next))? {
            let path = entry.map_err(Error::file(&next))?.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let bytes = match fs::read(&path) {
                    // Deleted since the directory was read.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    bytes => bytes.map_err(Error::file(&path))?,
                };
                let relative = path.strip_prefix(directory).unwrap_or(&path);
                found.insert(relative.to_owned(), bytes);
            }
        }
    }
    Ok(found)
}

/// The addresses that host-local has reserved, as `network/address`. (It never removes its lock and
/// its last-reserved-address files.)
///
/// # Errors
/// [`Error::File`] when its directory cannot be read.
pub fn reserved_addresses(node: &Node) -> Result<Vec<String>, Error> {
    let is_address = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.parse::<IpAddr>().is_ok())
    };
    Ok(files(&node.path("ipam"))?
        .into_keys()
        .filter(|path| is_address(path))
        .map(|path| path.display().to_string())
        .collect())
}

/// Everything that an ADD leaves on a node and a DEL must remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Links of the node that belong to a pod: all except bridges and those present before.
    pub node_links: Vec<String>,
    /// Links in the pod's namespace.
    pub pod_links: Vec<String>,
    /// Addresses that host-local has reserved.
    pub addresses: Vec<String>,
    /// Files of the ledger.
    pub ledger: Vec<String>,
}

impl Traces {
    /// Inspects a node and one namespace on it.
    ///
    /// # Errors
    /// As [`links`] and [`files`].
    pub fn of(node: &Node, netns: &str) -> Result<Self, Error> {
        let names = |links: Vec<Link>| links.into_iter().map(|link| link.name);
        let mut node_links = links(None)?;
        // The bridge plugin keeps its bridge for the next pod.
        node_links.retain(|link| link.kind != "bridge");
        Ok(Self {
            node_links: names(node_links).collect(),
            pod_links: names(links(Some(netns))?).collect(),
            addresses: reserved_addresses(node)?,
            ledger: files(&node.path("ledger"))?
                .into_keys()
                .map(|path| path.display().to_string())
                .collect(),
        })
    }
}
