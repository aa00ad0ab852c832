//! Plugins and networks: what the confs of the primary network and of the cluster's definitions need
//! on this node.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use cni_types::conf::PluginConf;

use super::Check;
use crate::doctor::Severity::{Error, Notice, Warning};
use crate::doctor::node::{NeededPlugin, Network, Node, nad_conf};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "P401",
        severity: Error,
        title: "a network's plugin is missing",
        why: "ADD fails for each pod of this network on this node.",
        mend: "Install the plugin in the directory, for example from the release of the CNI reference plugins.",
        pre: true,
        run: missing,
    },
    Check {
        code: "P402",
        severity: Error,
        title: "a network's IPAM plugin is missing",
        why: "The network's plugin cannot assign addresses: ADD fails.",
        mend: "Install the IPAM plugin in the directory.",
        pre: true,
        run: missing_ipam,
    },
    Check {
        code: "P403",
        severity: Error,
        title: "a plugin cannot be executed",
        why: "ADD fails with `permission denied`, and so does DEL.",
        mend: "Set the mode 0755.",
        pre: true,
        run: not_executable,
    },
    Check {
        code: "P404",
        severity: Notice,
        title: "the plugin `loopback` is missing",
        why: "containerd before version 2 and CRI-O call it for every pod, and start no pod without it.",
        mend: "Install the CNI reference plugins.",
        pre: true,
        run: loopback,
    },
    Check {
        code: "P405",
        severity: Error,
        title: "a network's conf is not valid",
        why: "ADD fails for each pod that names this network.",
        mend: "Correct spec.config of the definition.",
        pre: true,
        run: invalid,
    },
    Check {
        code: "P406",
        severity: Error,
        title: "a network executes the shim",
        why: "The daemon would call itself: ADD answers 7.",
        mend: "Name the plugin that makes the interface in `type`, rather than multus or the shim.",
        pre: true,
        run: calls_itself,
    },
    Check {
        code: "P407",
        severity: Warning,
        title: "a definition has no conf, and no file of its name is on this node",
        why: "A definition without spec.config stands for a conf on the node. ADD fails for it here.",
        mend: "Write spec.config, or put the file into confDir.",
        pre: true,
        run: no_file,
    },
    Check {
        code: "P408",
        severity: Warning,
        title: "a network's master does not exist on this node",
        why: "macvlan, ipvlan and vlan add their interface to a master: ADD fails for pods of this network here.",
        mend: "Create the interface, correct `master`, or keep the network's pods from this node.",
        pre: true,
        run: no_master,
    },
    Check {
        code: "P409",
        severity: Warning,
        title: "a network's MTU is above its master's",
        why: "macvlan refuses such an MTU; with other plugins large packets are lost.",
        mend: "Lower `mtu` in the conf, or raise the master's.",
        pre: true,
        run: mtu,
    },
    Check {
        code: "P410",
        severity: Warning,
        title: "a network's bridge has the name of another interface",
        why: "The plugin `bridge` fails if an interface of the bridge's name is not a bridge.",
        mend: "Give the bridge another name.",
        pre: true,
        run: no_bridge,
    },
    Check {
        code: "P411",
        severity: Notice,
        title: "a network's master is down",
        why: "Pods get an interface without a carrier.",
        mend: "Set the interface up: ip link set NAME up.",
        pre: true,
        run: master_down,
    },
    Check {
        code: "P412",
        severity: Warning,
        title: "two networks assign addresses of overlapping ranges with host-local",
        why: "host-local knows only the addresses of one network name, so two pods may get the same address.",
        mend: "Use disjoint ranges, or a cluster-wide IPAM plugin.",
        pre: true,
        run: overlapping,
    },
];

/// The plugin's file; `None` if it is not in any directory.
fn file(node: &Node, name: &str) -> Option<PathBuf> {
    let dirs = node.delegate_dirs();
    let mut paths = dirs.iter().map(|dir| dir.join(name));
    paths.find(|path| path.exists())
}

fn absent(node: &Node, ipam: bool) -> Vec<String> {
    if !node.bin_dir.is_dir() {
        return Vec::new();
    }
    let plugins = node.plugins().into_iter();
    let shims = node.settings.conf_file.shims();
    plugins
        .filter(|needed| needed.is_ipam == ipam)
        .filter(|needed| !needed.name.contains('/') && !shims.are(&needed.name))
        .filter(|needed| file(node, &needed.name).is_none())
        .map(|NeededPlugin { name, network, .. }| {
            let dirs = node.delegate_dirs();
            let mut dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            dirs.dedup();
            format!(
                "{name}, which network {network} needs, is not in {}",
                dirs.join(", ")
            )
        })
        .collect()
}

fn missing(node: &Node) -> Vec<String> {
    absent(node, false)
}

fn missing_ipam(node: &Node) -> Vec<String> {
    absent(node, true)
}

fn not_executable(node: &Node) -> Vec<String> {
    let plugins = node.plugins().into_iter();
    plugins
        .filter_map(|NeededPlugin { name, network, .. }| {
            let path = file(node, &name)?;
            let metadata = path.metadata().ok()?;
            let fits = metadata.is_file() && metadata.mode() & 0o111 != 0;
            let mode = metadata.mode() & 0o7777;
            let shown = format!(
                "{} of network {network} has mode {mode:04o}",
                path.display()
            );
            (!fits).then_some(shown)
        })
        .collect()
}

fn loopback(node: &Node) -> Vec<String> {
    match node.bin_dir.is_dir() && file(node, "loopback").is_none() {
        true => vec![format!("{} has no loopback", node.bin_dir.display())],
        false => Vec::new(),
    }
}

fn invalid(node: &Node) -> Vec<String> {
    let nads = node.nads().iter();
    nads.filter_map(|nad| {
        if let Some(found) = &nad.mistyped_config {
            let (namespace, name) = (&nad.namespace, &nad.name);
            return Some(format!(
                "{namespace}/{name}: expected a string with JSON, found {found}"
            ));
        }
        let text = nad
            .config
            .as_deref()
            .filter(|text| !text.trim().is_empty())?;
        let error = nad_conf(nad, text).err()?;
        Some(format!("{}/{}: {error}", nad.namespace, nad.name))
    })
    .collect()
}

fn calls_itself(node: &Node) -> Vec<String> {
    let shims = node.settings.conf_file.shims();
    let networks = node.networks().into_iter();
    networks
        .filter_map(|network| {
            let error = shims.refuse_in(&network.conf).err()?;
            Some(format!("{}: {error}", network.name))
        })
        .collect()
}

fn no_file(node: &Node) -> Vec<String> {
    let dir = conf_dir(node);
    let nads = node.nads().iter();
    nads.filter(|nad| {
        nad.config
            .as_deref()
            .is_none_or(|text| text.trim().is_empty())
            && nad.mistyped_config.is_none()
    })
    .filter(|nad| libcni::load::by_name(&dir, &nad.name).is_err())
    .map(|nad| {
        let (namespace, name) = (&nad.namespace, &nad.name);
        format!("{} has no conf for {namespace}/{name}", dir.display())
    })
    .collect()
}

fn conf_dir(node: &Node) -> PathBuf {
    let raw = node.settings.overrides.get_as::<String>("confDir");
    let dir = raw.ok().flatten().filter(|dir| !dir.is_empty());
    dir.map_or_else(|| "/etc/cni/multus/net.d".into(), PathBuf::from)
}

/// Each plugin that names an interface of the node, with that name.
fn masters(networks: &[Network]) -> Vec<(&Network, &PluginConf, String)> {
    let mut found = Vec::new();
    for network in networks {
        for plugin in network.conf.plugins() {
            let has_master = ["macvlan", "ipvlan", "vlan"].contains(&plugin.plugin_type().as_str());
            // A master in the pod's namespace is made by another network.
            let is_inside = plugin.raw().get("linkInContainer");
            if !has_master || is_inside.is_some_and(|value| value.get() == "true") {
                continue;
            }
            if let Ok(Some(name)) = plugin.raw().get_as::<String>("master")
                && !name.is_empty()
            {
                found.push((network, plugin, name));
            }
        }
    }
    found
}

fn no_master(node: &Node) -> Vec<String> {
    let networks = node.networks();
    let masters = masters(&networks).into_iter();
    masters
        .filter(|(_, _, name)| node.link(name).is_none())
        .map(|(network, _, name)| format!("{}: the node has no interface {name:?}", network.name))
        .collect()
}

fn mtu(node: &Node) -> Vec<String> {
    let networks = node.networks();
    let masters = masters(&networks).into_iter();
    masters
        .filter_map(|(network, plugin, name)| {
            let link = node.link(&name)?;
            let mtu = plugin.raw().get_as::<u32>("mtu").ok().flatten()?;
            let shown = format!("{}: mtu {mtu}, {name} has {}", network.name, link.mtu);
            (mtu > link.mtu).then_some(shown)
        })
        .collect()
}

fn no_bridge(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    for network in node.networks() {
        for plugin in network.conf.plugins() {
            if plugin.plugin_type().as_str() != "bridge" {
                continue;
            }
            let name = plugin.raw().get_as::<String>("bridge").ok().flatten();
            let name = name.filter(|name| !name.is_empty());
            let name = name.unwrap_or_else(|| "cni0".to_owned());
            if node.link(&name).is_some_and(|link| !link.is_bridge) {
                found.push(format!("{}: {name} is not a bridge", network.name));
            }
        }
    }
    found
}

fn master_down(node: &Node) -> Vec<String> {
    let networks = node.networks();
    let masters = masters(&networks).into_iter();
    masters
        .filter(|(_, _, name)| node.link(name).is_some_and(|link| !link.is_up))
        .map(|(network, _, name)| format!("{}: {name} is down", network.name))
        .collect()
}

/// First and last address of a subnet.
type Range = (std::net::IpAddr, std::net::IpAddr);

fn overlapping(node: &Node) -> Vec<String> {
    let mut ranges: Vec<(String, String, Range)> = Vec::new();
    let mut found = Vec::new();
    for network in node.networks() {
        let conf_name = network.conf.name().to_string();
        for plugin in network.conf.plugins() {
            for range in subnets(plugin) {
                let overlaps = |other: &Range| range.0 <= other.1 && other.0 <= range.1;
                // One name is one store of addresses.
                let other = ranges.iter().find(|(_, name, other)| {
                    *name != conf_name && range.0.is_ipv4() == other.0.is_ipv4() && overlaps(other)
                });
                if let Some((other, _, _)) = other {
                    found.push(format!("{} and {other}", network.name));
                }
                ranges.push((network.name.clone(), conf_name.clone(), range));
            }
        }
    }
    found.dedup();
    found
}

/// The subnets that host-local assigns from, reduced to rangeStart and rangeEnd where given.
fn subnets(plugin: &PluginConf) -> Vec<Range> {
    let ipam = plugin.raw().get("ipam").map(|raw| raw.get());
    let ipam = ipam.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let Some(ipam) = ipam.filter(|ipam| ipam.get("type").is_some_and(|one| one == "host-local"))
    else {
        return Vec::new();
    };
    let sets = ipam.get("ranges").and_then(serde_json::Value::as_array);
    let sets = sets.into_iter().flatten();
    let of_sets = sets.filter_map(serde_json::Value::as_array).flatten();
    [&ipam]
        .into_iter()
        .chain(of_sets)
        .filter_map(range)
        .collect()
}

fn range(one: &serde_json::Value) -> Option<Range> {
    let text = |key: &str| one.get(key).and_then(serde_json::Value::as_str);
    let (first, last) = bounds(text("subnet")?)?;
    let given = |key: &str| text(key).and_then(|text| text.parse().ok());
    Some((
        given("rangeStart").unwrap_or(first),
        given("rangeEnd").unwrap_or(last),
    ))
}

fn bounds(subnet: &str) -> Option<Range> {
    let (address, length) = subnet.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match address.parse().ok()? {
        std::net::IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let first = u32::from(address) & !host;
            let last = std::net::Ipv4Addr::from(first | host);
            Some((std::net::Ipv4Addr::from(first).into(), last.into()))
        }
        std::net::IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let first = u128::from(address) & !host;
            let last = std::net::Ipv6Addr::from(first | host);
            Some((std::net::Ipv6Addr::from(first).into(), last.into()))
        }
    }
}
