//! Networks with a common mistake in their conf or in the pod's request: the plugin rejects ADD,
//! and often DEL for the same reason.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::every_plugin::kernel_has;
use crate::networks;
use crate::node::Node;
use crate::program::run;

/// A network that cannot be attached.
#[derive(Debug)]
pub struct Mistake {
    /// What is wrong; also the name of the network and of the pod that requests it.
    pub name: &'static str,
    /// Conf or conflist with the mistake.
    pub conf: Value,
    /// Keys of the pod's selection, besides the network's name.
    pub asks: Map<String, Value>,
    /// An expected part of the ADD's error.
    pub says: &'static str,
}

impl Mistake {
    fn new(name: &'static str, conf: Value, says: &'static str) -> Self {
        let mut conf = conf;
        if let Value::Object(conf) = &mut conf {
            conf.entry("name").or_insert_with(|| json!(name));
        }
        Self {
            name,
            conf,
            asks: Map::new(),
            says,
        }
    }

    fn asking(mut self, key: &str, value: Value) -> Self {
        self.asks.insert(key.to_owned(), value);
        self
    }

    /// The annotation of a pod that requests it.
    pub fn selection(&self) -> String {
        let mut selection = self.asks.clone();
        selection.insert("name".to_owned(), json!(self.name));
        json!([selection]).to_string()
    }

    /// The conf with the mistake corrected.
    pub fn put_right(&self, node: &Node) -> Value {
        bridge(node, self.name)
    }

    /// A chain in which this plugin is last, or second of three, and the plugins before it create
    /// something. `None` if the conf is already a list, and for `host-device`, which moves the card
    /// before it notices that the interface name is taken.
    pub fn chained(&self, node: &Node, is_last: bool) -> Option<Value> {
        let plugin_type = self.conf.get("type").and_then(Value::as_str)?;
        if plugin_type == "host-device" {
            return None;
        }
        let plugin = self.conf.clone();
        let version = plugin.get("cniVersion").cloned();
        let plugin = without_name(plugin);
        let bridge = without_name(bridge(node, self.name));
        let plugins = match is_last {
            true => {
                let firewall = json!({ "type": "firewall", "backend": "iptables" });
                [bridge, firewall, plugin]
            }
            false => [bridge, plugin, json!({ "type": "tuning", "mtu": 1400 })],
        };
        let name = self.conf.get("name");
        Some(json!({ "cniVersion": version, "name": name, "plugins": plugins }))
    }
}

/// Prepares a node for these networks.
///
/// # Errors
/// As [`networks::prepare`].
pub fn prepare(node: &mut Node) -> Result<(), Error> {
    networks::prepare(node)?;
    for (name, script) in PROGRAMS {
        let path = node.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"))?;
        run("chmod", &["755", &path.to_string_lossy()])?;
    }
    networks::add_wire("card", "switch")
}

/// Plugins that exit by themselves without an error object, whatever the command.
const PROGRAMS: [(&str, &str); 4] = [
    (
        "no-library",
        "echo 'error while loading shared libraries: libx.so.1' >&2; exit 127",
    ),
    (
        "no-module",
        "echo \"ModuleNotFoundError: No module named 'nosuch'\" >&2; exit 1",
    ),
    ("prints-text", "echo 'error: no such thing'; exit 1"),
    ("prints-nothing", "exit 3"),
];

/// One mistake of each kind.
pub fn all(node: &Node) -> Vec<Mistake> {
    let mut all = of_the_bridge(node);
    all.extend(of_addresses(node));
    all.extend(of_links(node));
    all.extend(of_chained_plugins(node));
    all.extend(of_programs(node));
    all.extend(of_requests(node));
    all
}

fn of_the_bridge(node: &Node) -> Vec<Mistake> {
    let name = "n".repeat(240);
    let wrong = |name, key, value, says| {
        let conf = bridge(node, name);
        Mistake::new(name, with(conf, key, value), says)
    };
    let mut all = vec![
        wrong("mtu-as-text", "mtu", json!("9000"), "NetConf.mtu"),
        wrong("gateway-as-text", "isGateway", json!("true"), "isGateway"),
        wrong("vlan-too-large", "vlan", json!(9999), "9999"),
        wrong("mode-exclusive", "hairpinMode", json!(1), "hairpinMode"),
        wrong("no-such-version", "cniVersion", json!("9.9.9"), "9.9.9"),
        wrong("long-name", "name", json!(name), "too long"),
        wrong(
            "bridge-is-a-card",
            "bridge",
            json!("uplink"),
            "not a bridge",
        ),
        wrong("no-such-plugin", "type", json!("brigde"), "brigde"),
    ];
    if !knows(node, "1.1.0") {
        all.push(wrong(
            "newer-version",
            "cniVersion",
            json!("1.1.0"),
            "version",
        ));
    }
    all
}

/// Whether the node's plugins support this version of the specification.
fn knows(node: &Node, version: &str) -> bool {
    let ask = format!("CNI_COMMAND=VERSION {}/bridge", node.plugins());
    let ask = format!("echo '{{\"cniVersion\":\"1.0.0\"}}' | {ask}");
    run("sh", &["-c", &ask]).is_ok_and(|answer| answer.contains(version))
}

fn of_addresses(node: &Node) -> Vec<Mistake> {
    let wrong = |name, ipam, says| {
        let conf = bridge(node, name);
        Mistake::new(name, with(conf, "ipam", ipam), says)
    };
    let local = |more: Value| {
        let mut ipam = json!({ "type": "host-local", "dataDir": node.path("ipam") });
        if let (Value::Object(ipam), Value::Object(more)) = (&mut ipam, more) {
            ipam.extend(more);
        }
        ipam
    };
    vec![
        wrong(
            "subnet-of-33",
            local(json!({ "subnet": "10.90.0.0/33" })),
            "10.90.0.0/33",
        ),
        wrong(
            "range-outside",
            local(json!({ "subnet": "10.90.0.0/24", "rangeStart": "10.90.1.5" })),
            "10.90.1.5",
        ),
        wrong("no-subnet", local(json!({})), "no IP ranges"),
        wrong(
            "subnet-of-129",
            local(json!({ "subnet": "fd90::/129" })),
            "fd90::/129",
        ),
        wrong(
            "unreachable-gateway",
            local(
                json!({ "subnet": "10.90.0.0/24", "routes": [{ "dst": "10.0.0.0/8", "gw": "10.1.0.1" }] }),
            ),
            "unreachable",
        ),
        wrong(
            "route-without-length",
            local(json!({ "subnet": "10.90.0.0/24", "routes": [{ "dst": "10.0.0.0" }] })),
            "10.0.0.0",
        ),
        wrong(
            "ipam-misspelt",
            json!({ "type": "host-locla" }),
            "host-locla",
        ),
        wrong(
            "ipam-not-installed",
            json!({ "type": "whereabouts", "range": "10.90.0.0/24" }),
            "whereabouts",
        ),
        wrong(
            "address-without-length",
            json!({ "type": "static", "addresses": [{ "address": "10.90.0.7" }] }),
            "10.90.0.7",
        ),
        wrong(
            "dhcp-without-daemon",
            json!({ "type": "dhcp" }),
            "DHCP daemon",
        ),
    ]
}

fn of_links(node: &Node) -> Vec<Mistake> {
    let over = |name, plugin: &str, more: Value, says| {
        let conf = networks::macvlan(node, name, "nosuch0", "10.90.0.0/24");
        let mut conf = with(conf, "type", json!(plugin));
        if let (Value::Object(conf), Value::Object(more)) = (&mut conf, more) {
            conf.extend(more);
        }
        Mistake::new(name, conf, says)
    };
    let device = |name, more: Value, says| {
        let mut conf = json!({ "cniVersion": "1.0.0", "type": "host-device" });
        if let (Value::Object(conf), Value::Object(more)) = (&mut conf, more) {
            conf.extend(more);
        }
        Mistake::new(name, conf, says)
    };
    let on_lo = |mode| json!({ "master": "lo", "mode": mode });
    let mut all = vec![
        over(
            "macvlan-without-master",
            "macvlan",
            json!({}),
            "Link not found",
        ),
        over("macvlan-mode", "macvlan", on_lo("nosuch"), "nosuch"),
        over("ipvlan-mode", "ipvlan", on_lo("l9"), "l9"),
        over(
            "vlan-without-master",
            "vlan",
            json!({ "vlanId": 5 }),
            "Link not found",
        ),
        over(
            "vlan-of-no-master",
            "vlan",
            json!({ "vlanId": 5, "master": "" }),
            "master",
        ),
        device("no-device", json!({}), "specify"),
        device(
            "device-missing",
            json!({ "device": "nosuch0" }),
            "Link not found",
        ),
        device(
            "device-ipam",
            json!({ "device": "card", "ipam": { "type": "host-local" } }),
            "no IP ranges",
        ),
    ];
    if kernel_has("macvlan") {
        let master = json!({ "master": "uplink", "mtu": 9300 });
        all.push(over("macvlan-mtu", "macvlan", master, "9300"));
    }
    all
}

fn of_chained_plugins(node: &Node) -> Vec<Mistake> {
    let chain = |name, plugin: Value, says| {
        let plugins = [without_name(bridge(node, name)), plugin];
        let conf = json!({ "cniVersion": "1.0.0", "plugins": plugins });
        Mistake::new(name, conf, says)
    };
    let ports = json!({ "portMappings": true });
    vec![
        chain("tuning", json!({ "type": "tuning", "mtu": "1400" }), "mtu"),
        chain(
            "tuning-sysctl",
            json!({ "type": "tuning", "sysctl": { "net.core.nosuch": "1" } }),
            "nosuch",
        ),
        chain(
            "portmap",
            json!({ "type": "portmap", "snat": "yes", "capabilities": ports }),
            "snat",
        ),
        chain(
            "firewall",
            json!({ "type": "firewall", "backend": 5 }),
            "backend",
        ),
        chain(
            "bandwidth",
            json!({ "type": "bandwidth", "ingressRate": -1 }),
            "ingressRate",
        ),
        chain(
            "ipam-as-text",
            json!({ "type": "sbr", "ipam": "none" }),
            "ipam",
        ),
    ]
}

/// As the plugin itself, and as its IPAM plugin.
fn of_programs(node: &Node) -> Vec<Mistake> {
    let wrong = |name, plugin, says| {
        let conf = json!({ "cniVersion": "1.0.0", "type": plugin });
        Mistake::new(name, conf, says)
    };
    let called = |name, plugin, says| {
        let conf = with(bridge(node, name), "ipam", json!({ "type": plugin }));
        Mistake::new(name, conf, says)
    };
    vec![
        wrong("library", "no-library", "libx.so.1"),
        wrong("module", "no-module", "nosuch"),
        wrong("text", "prints-text", "no such thing"),
        wrong("nothing", "prints-nothing", "exit status: 3"),
        called("ipam-library", "no-library", "libx.so.1"),
        called("ipam-module", "no-module", "nosuch"),
        called("ipam-text", "prints-text", "no such thing"),
        called("ipam-nothing", "prints-nothing", "exit status"),
    ]
}

fn of_requests(node: &Node) -> Vec<Mistake> {
    let asks =
        |name, key, value, says| Mistake::new(name, bridge(node, name), says).asking(key, value);
    vec![
        asks("percent", "interface", json!("net%d"), "'%'"),
        asks(
            "two-addresses",
            "ips",
            json!(["10.90.0.7/24", "10.90.0.8/24"]),
            "all requested IPs",
        ),
    ]
}

/// Not a gateway: a failed ADD may leave the bridge without a hardware address, which the plugin
/// then cannot set.
fn bridge(node: &Node, name: &str) -> Value {
    let conf = networks::bridge(node, name, "10.90.0.0/24");
    let conf = with(conf, "bridge", json!("br90"));
    with(conf, "isGateway", json!(false))
}

fn with(mut conf: Value, key: &str, value: Value) -> Value {
    if let Value::Object(conf) = &mut conf {
        conf.insert(key.to_owned(), value);
    }
    conf
}

fn without_name(mut plugin: Value) -> Value {
    if let Value::Object(plugin) = &mut plugin {
        plugin.remove("name");
        plugin.remove("cniVersion");
    }
    plugin
}
