//! A network of each reference plugin, and what each may leave on a node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::Error;
use crate::inspect::{self, Link};
use crate::node::Node;
use crate::{networks, run};

/// Everything a network can leave on a node.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// All links of the node.
    pub links: Vec<Link>,
    /// Addresses that host-local has reserved.
    pub addresses: Vec<String>,
    /// iptables rules, without counters.
    pub firewall: Vec<String>,
    /// Routing rules.
    pub rules: String,
    /// Files of the ledger.
    pub ledger: Vec<PathBuf>,
    /// Files in the plugins' own state directories.
    pub kept: BTreeMap<PathBuf, Vec<u8>>,
}

impl State {
    /// Inspects a node.
    ///
    /// # Errors
    /// [`Error`] when something cannot be read.
    pub fn of(node: &Node) -> Result<Self, Error> {
        let kept = PathBuf::from("/run/cni");
        let firewall = run("iptables-save", &[]).unwrap_or_default();
        let lines = firewall.lines().filter(|line| !line.starts_with('#'));
        Ok(Self {
            links: inspect::links(None)?,
            addresses: inspect::reserved_addresses(node)?,
            firewall: lines
                .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
                .collect(),
            rules: run("ip", &["rule", "show"])?,
            ledger: inspect::files(&node.path("ledger"))?.into_keys().collect(),
            kept: match kept.exists() {
                true => inspect::files(&kept)?,
                false => BTreeMap::new(),
            },
        })
    }
}

/// A network of one plugin, and how a pod requests it.
#[derive(Debug)]
pub struct Network {
    /// The network's name.
    pub name: &'static str,
    /// Conf or conflist.
    pub conf: Value,
    /// Keys of the pod's selection, besides the name.
    pub asks: Value,
    /// The link kind that the kernel must support.
    kind: Option<&'static str>,
}

impl Network {
    fn new(name: &'static str, conf: Value) -> Self {
        Self {
            name,
            conf,
            asks: json!({}),
            kind: None,
        }
    }

    fn asked(mut self, asks: Value) -> Self {
        self.asks = asks;
        self
    }

    fn needing(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The annotation of a pod that requests it.
    pub fn selection(&self) -> String {
        let mut selection = json!({ "name": self.name });
        if let (Value::Object(selection), Value::Object(asks)) = (&mut selection, &self.asks) {
            selection.extend(asks.clone());
        }
        json!([selection]).to_string()
    }

    /// Whether this kernel supports the link kind; prints a note if not.
    pub fn can_be_had(&self) -> bool {
        let is_there = self.kind.is_none_or(kernel_has);
        if !is_there {
            eprintln!(
                "left out: {}, for which this kernel has no {:?}",
                self.name, self.kind
            );
        }
        is_there
    }
}

/// Whether this kernel supports a link kind. The node must have been prepared.
pub fn kernel_has(kind: &str) -> bool {
    let mut arguments = vec!["link", "add"];
    if matches!(kind, "macvlan" | "ipvlan" | "vlan") {
        arguments.extend(["link", "storage"]);
    }
    arguments.extend(["name", "probe", "type", kind]);
    arguments.extend(match kind {
        "vlan" => &["id", "9"][..],
        "vrf" => &["table", "9"],
        _ => &[],
    });
    let made = run("ip", &arguments);
    made.is_ok() && run("ip", &["link", "del", "probe"]).is_ok()
}

fn bridge(node: &Node, name: &str) -> Value {
    with(
        networks::bridge(node, name, "10.90.0.0/24"),
        "bridge",
        json!("br90"),
    )
}

fn with(mut conf: Value, key: &str, value: Value) -> Value {
    if let Value::Object(conf) = &mut conf {
        conf.insert(key.to_owned(), value);
    }
    conf
}

fn chain(name: &str, mut first: Value, second: Value) -> Value {
    if let Value::Object(first) = &mut first {
        first.remove("name");
    }
    json!({ "cniVersion": "1.0.0", "name": name, "plugins": [first, second] })
}

fn over_uplink(node: &Node, name: &str, plugin: &str) -> Value {
    let conf = networks::macvlan(node, name, "uplink", "10.91.0.0/24");
    with(conf, "type", json!(plugin))
}

/// Networks whose DEL cleans up completely even after the namespace is gone.
pub fn that_outlive_their_namespace(node: &Node) -> Vec<Network> {
    let chained = |name, plugin| Network::new(name, chain(name, bridge(node, name), plugin));
    let over = |name| over_uplink(node, name, name);
    let declared = |plugin: &str, capability: &str| json!({ "type": plugin, "capabilities": { capability: true } });
    vec![
        Network::new("bridge", bridge(node, "bridge")),
        Network::new("macvlan", over("macvlan")).needing("macvlan"),
        Network::new("ipvlan", with(over("ipvlan"), "mode", json!("l2"))).needing("ipvlan"),
        Network::new("vlan", with(over("vlan"), "vlanId", json!(7))).needing("vlan"),
        Network::new("ptp", over("ptp")),
        Network::new(
            "loopback",
            json!({ "cniVersion": "1.0.0", "name": "loopback", "type": "loopback" }),
        ),
        chained("portmap", declared("portmap", "portMappings")).asked(
            json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] }),
        ),
        chained("bandwidth", declared("bandwidth", "bandwidth"))
            .asked(json!({ "bandwidth": {
                "ingressRate": 1_000_000, "ingressBurst": 1_000_000,
                "egressRate": 1_000_000, "egressBurst": 1_000_000,
            } }))
            .needing("ifb"),
        chained("firewall", json!({ "type": "firewall", "backend": "iptables" })),
        chained("vrf", json!({ "type": "vrf", "vrfname": "red", "table": 10 })).needing("vrf"),
    ]
}

/// Networks whose DEL needs the namespace, to return something or for no good reason. The link that
/// `card` uses exists once [`networks::add_wire`] has created it.
pub fn that_want_their_namespace(node: &Node) -> Vec<Network> {
    let card = networks::bridge(node, "card", "10.95.0.0/24");
    let card = json!({
        "cniVersion": "1.0.0", "name": "card", "type": "host-device", "device": "card", "ipam": card.get("ipam"),
    });
    let plain = |name: &str, subnet: &str| {
        let conf = networks::bridge(node, name, subnet);
        json!({ "type": "bridge", "bridge": name, "ipam": conf.get("ipam") })
    };
    // The plugin finds its rules by the addresses in the namespace.
    let masquerade = networks::bridge(node, "masquerade", "10.92.0.0/24");
    let tuning = json!({ "type": "tuning", "mtu": 1400 });
    let sbr = || json!({ "type": "sbr" });
    vec![
        Network::new("card", card),
        Network::new("masquerade", with(masquerade, "ipMasq", json!(true))),
        Network::new(
            "tuned",
            chain("tuned", plain("tuned", "10.93.0.0/24"), tuning),
        ),
        Network::new(
            "source",
            chain("source", plain("source", "10.94.0.0/24"), sbr()),
        ),
        Network::new(
            "oversource",
            chain(
                "oversource",
                over_uplink(node, "oversource", "macvlan"),
                sbr(),
            ),
        )
        .needing("macvlan"),
    ]
}
