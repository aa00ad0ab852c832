//! The kernel: modules, settings and control groups.

use super::Check;
use crate::doctor::Severity::{Error, Notice, Warning};
use crate::doctor::node::Node;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "K901",
        severity: Warning,
        title: "a kernel module that a network needs is not available",
        why: "The plugin cannot create its interface: ADD fails with `operation not supported`.",
        mend: "Install the package with the kernel's modules, such as kernel-modules-extra, and load the module at boot.",
        pre: true,
        run: no_module,
    },
    Check {
        code: "K902",
        severity: Warning,
        title: "IPv4 packets are not forwarded",
        why: "Pods of a network with a gateway on this node reach nothing outside of it. The plugins `bridge` and `ptp` turn it on when they make the first gateway; something has turned it off again.",
        mend: "Set net.ipv4.ip_forward to 1, in /etc/sysctl.d.",
        pre: true,
        run: no_forwarding,
    },
    Check {
        code: "K903",
        severity: Warning,
        title: "there are few inotify instances",
        why: "The daemon watches directories with them. Without any left it does not notice new policies and confs.",
        mend: "Raise fs.inotify.max_user_instances to 512 or more, in /etc/sysctl.d.",
        pre: true,
        run: few_watches,
    },
    Check {
        code: "K904",
        severity: Error,
        title: "the control group of delegates cannot be used",
        why: "The daemon does not start if delegateCgroup cannot be created.",
        mend: "The parent has to be a control group of version 2 that the daemon can write to.",
        pre: true,
        run: no_cgroup,
    },
    Check {
        code: "K905",
        severity: Warning,
        title: "the directory of network namespaces is missing",
        why: "The runtime makes it for the first pod. In a container that mounted the path before, new namespaces are not visible.",
        mend: "Create /run/netns before the daemon starts, or let the volume `netns` do so.",
        pre: false,
        run: no_netns,
    },
    Check {
        code: "K906",
        severity: Notice,
        title: "the table of neighbours is small",
        why: "With more pods and peers than net.ipv4.neigh.default.gc_thresh3 the kernel drops packets.",
        mend: "Raise the three thresholds on nodes with many pods.",
        pre: true,
        run: few_neighbours,
    },
    Check {
        code: "K907",
        severity: Error,
        title: "IPv6 is turned off, and a network assigns IPv6 addresses",
        why: "The plugin cannot set the address: ADD fails.",
        mend: "Turn IPv6 on (net.ipv6.conf.all.disable_ipv6=0, no ipv6.disable=1 at boot), or remove the range.",
        pre: true,
        run: no_ipv6,
    },
    Check {
        code: "K908",
        severity: Warning,
        title: "the kernel allows few network namespaces",
        why: "Each pod needs one.",
        mend: "Raise user.max_net_namespaces.",
        pre: true,
        run: few_namespaces,
    },
];

/// Plugins and the modules of their interfaces.
const MODULES: [(&str, &str); 8] = [
    ("bridge", "bridge"),
    ("macvlan", "macvlan"),
    ("ipvlan", "ipvlan"),
    ("vlan", "8021q"),
    ("vrf", "vrf"),
    ("dummy", "dummy"),
    ("tap", "tun"),
    ("bond", "bonding"),
];

fn number(node: &Node, path: &str) -> Option<u64> {
    node.text(&format!("/proc/sys/{path}"))?.trim().parse().ok()
}

fn no_module(node: &Node) -> Vec<String> {
    let dir = node.on_node(&node.at(&format!("/lib/modules/{}", node.kernel)));
    let known = ["modules.builtin", "modules.dep"];
    let known = known.map(|file| std::fs::read_to_string(dir.join(file)));
    if known.iter().all(Result::is_err) {
        // A container without the node's modules.
        return Vec::new();
    }
    let known: String = known.into_iter().flatten().collect();
    let has = |module: &str| {
        node.at(&format!("/sys/module/{module}")).exists()
            || known.lines().any(|line| {
                let path = line.split(':').next().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                name.split(".ko").next() == Some(module)
            })
    };
    let plugins = node.plugins().into_iter();
    plugins
        .filter_map(|needed| {
            let (_, module) = MODULES.iter().find(|(plugin, _)| *plugin == needed.name)?;
            let shown = format!("{module}, which network {} needs", needed.network);
            (!has(module)).then_some(shown)
        })
        .collect()
}

fn no_forwarding(node: &Node) -> Vec<String> {
    if number(node, "net/ipv4/ip_forward") != Some(0) {
        return Vec::new();
    }
    let networks = node.networks().into_iter();
    let is_routed = |plugin: &cni_types::conf::PluginConf| {
        let is_on = |key| {
            plugin
                .raw()
                .get(key)
                .is_some_and(|value| value.get() == "true")
        };
        is_on("isGateway") || is_on("isDefaultGateway") || is_on("ipMasq")
    };
    networks
        .filter(|network| network.conf.plugins().iter().any(is_routed))
        .map(|network| format!("net.ipv4.ip_forward is 0, and {} is routed", network.name))
        .collect()
}

fn few_watches(node: &Node) -> Vec<String> {
    const ENOUGH: u64 = 128;
    match number(node, "fs/inotify/max_user_instances") {
        Some(count) if count < ENOUGH => {
            vec![format!("fs.inotify.max_user_instances is {count}")]
        }
        _ => Vec::new(),
    }
}

fn no_cgroup(node: &Node) -> Vec<String> {
    let Some(dir) = &node.settings.own.delegate_cgroup else {
        return Vec::new();
    };
    let dir = node.on_node(dir);
    let parent = dir.parent().unwrap_or(&dir);
    let is_version_2 = |dir: &std::path::Path| dir.join("cgroup.controllers").exists();
    match is_version_2(&dir) || is_version_2(parent) {
        true => Vec::new(),
        false => vec![format!(
            "{} is not a control group of version 2",
            parent.display()
        )],
    }
}

fn no_netns(node: &Node) -> Vec<String> {
    let dir = node.at("/run/netns");
    match dir.is_dir() || node.at("/var/run/netns").is_dir() {
        true => Vec::new(),
        false => vec![format!("{} does not exist", dir.display())],
    }
}

fn few_neighbours(node: &Node) -> Vec<String> {
    const ENOUGH: u64 = 1024;
    match number(node, "net/ipv4/neigh/default/gc_thresh3") {
        Some(count) if count < ENOUGH => {
            vec![format!("net.ipv4.neigh.default.gc_thresh3 is {count}")]
        }
        _ => Vec::new(),
    }
}

fn no_ipv6(node: &Node) -> Vec<String> {
    let is_off = number(node, "net/ipv6/conf/all/disable_ipv6") == Some(1)
        || !node.at("/proc/sys/net/ipv6").is_dir();
    if !is_off {
        return Vec::new();
    }
    let has_ipv6 = |plugin: &cni_types::conf::PluginConf| {
        let ipam = plugin
            .raw()
            .get("ipam")
            .map(|raw| raw.get())
            .unwrap_or_default();
        let ipam: serde_json::Value = serde_json::from_str(ipam).unwrap_or_default();
        let mut texts = Vec::new();
        collect(&ipam, &mut texts);
        texts
            .iter()
            .any(|text| text.split('/').next().is_some_and(is_ipv6))
    };
    let networks = node.networks().into_iter();
    networks
        .filter(|network| network.conf.plugins().iter().any(has_ipv6))
        .map(|network| network.name)
        .collect()
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// All strings under `subnet` and `address`.
fn collect(value: &serde_json::Value, texts: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value {
                    serde_json::Value::String(text) if key == "subnet" || key == "address" => {
                        texts.push(text.clone());
                    }
                    other => collect(other, texts),
                }
            }
        }
        serde_json::Value::Array(elements) => {
            elements.iter().for_each(|element| collect(element, texts));
        }
        _ => {}
    }
}

fn few_namespaces(node: &Node) -> Vec<String> {
    const ENOUGH: u64 = 512;
    match number(node, "user/max_net_namespaces") {
        Some(count) if count < ENOUGH => vec![format!("user.max_net_namespaces is {count}")],
        _ => Vec::new(),
    }
}
