//! DELs that come while no daemon is there, and whose namespaces are gone when it is back: nothing is
//! left of any reference plugin, as after a DEL that was heard.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use node::case::on_a_private_node;
use node::inspect::{self, Link};
use node::{Answer, Node, Pod, Sandbox, networks, run};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn make(node: &Node, command: &str, pod: &Sandbox) -> Answer {
    let answer = node.call(command, pod).and_then(|call| call.make());
    answer.expect("the shim can be executed")
}

/// What a network leaves on a node.
#[derive(Debug, PartialEq, Eq)]
struct State {
    links: Vec<Link>,
    addresses: Vec<String>,
    firewall: Vec<String>,
    rules: String,
    ledger: Vec<PathBuf>,
    /// What plugins keep for themselves.
    kept: BTreeMap<PathBuf, Vec<u8>>,
}

impl State {
    fn of(node: &Node) -> Self {
        let kept = PathBuf::from("/run/cni");
        let firewall = run("iptables-save", &[]).unwrap_or_default();
        let lines = firewall.lines().filter(|line| !line.starts_with('#'));
        Self {
            links: inspect::links(None).unwrap(),
            addresses: inspect::reserved_addresses(node).unwrap(),
            // Without the counters.
            firewall: lines
                .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
                .collect(),
            rules: run("ip", &["rule", "show"]).unwrap(),
            ledger: ledger(node),
            kept: match kept.exists() {
                true => inspect::files(&kept).unwrap(),
                false => BTreeMap::new(),
            },
        }
    }
}

fn ledger(node: &Node) -> Vec<PathBuf> {
    let files = inspect::files(&node.path("ledger")).unwrap();
    files.into_keys().collect()
}

/// A network, the elements that pods ask for it with, and the kind of link that its kernel needs.
struct Network {
    name: &'static str,
    conf: Value,
    asks: Value,
    kind: Option<&'static str>,
}

fn networks_of_all_plugins(node: &Node) -> Vec<Network> {
    let network = |name, conf, asks, kind| Network {
        name,
        conf,
        asks,
        kind,
    };
    let bridge = |name: &str| {
        let mut conf = networks::bridge(node, name, "10.90.0.0/24");
        conf["bridge"] = json!("br90");
        conf
    };
    let chain = |name: &str, plugin: Value| {
        let mut first = bridge(name);
        first.as_object_mut().unwrap().remove("name");
        json!({ "cniVersion": "1.0.0", "name": name, "plugins": [first, plugin] })
    };
    let over = |name: &str, plugin: &str| {
        let mut conf = networks::macvlan(node, name, "uplink", "10.91.0.0/24");
        conf["type"] = json!(plugin);
        conf
    };
    let with = |mut conf: Value, key: &str, value: Value| {
        conf[key] = value;
        conf
    };
    let none = json!({});
    vec![
        network("bridge", bridge("bridge"), none.clone(), None),
        network(
            "macvlan",
            over("macvlan", "macvlan"),
            none.clone(),
            Some("macvlan"),
        ),
        network(
            "ipvlan",
            with(over("ipvlan", "ipvlan"), "mode", json!("l2")),
            none.clone(),
            Some("ipvlan"),
        ),
        network(
            "vlan",
            with(over("vlan", "vlan"), "vlanId", json!(7)),
            none.clone(),
            Some("vlan"),
        ),
        network("ptp", over("ptp", "ptp"), none.clone(), None),
        network(
            "loopback",
            json!({ "cniVersion": "1.0.0", "name": "loopback", "type": "loopback" }),
            none.clone(),
            None,
        ),
        network(
            "portmap",
            chain(
                "portmap",
                json!({ "type": "portmap", "capabilities": { "portMappings": true } }),
            ),
            json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] }),
            None,
        ),
        network(
            "bandwidth",
            chain(
                "bandwidth",
                json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }),
            ),
            json!({ "bandwidth": {
                "ingressRate": 1_000_000, "ingressBurst": 1_000_000, "egressRate": 1_000_000, "egressBurst": 1_000_000,
            } }),
            Some("ifb"),
        ),
        network(
            "firewall",
            chain(
                "firewall",
                json!({ "type": "firewall", "backend": "iptables" }),
            ),
            none.clone(),
            None,
        ),
        network(
            "vrf",
            chain(
                "vrf",
                json!({ "type": "vrf", "vrfname": "red", "table": 10 }),
            ),
            none,
            Some("vrf"),
        ),
    ]
}

/// Whether this machine's kernel has a kind of link.
fn kernel_has(kind: Option<&str>) -> bool {
    let Some(kind) = kind else { return true };
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
    if made.is_ok() {
        run("ip", &["link", "del", "probe"]).unwrap();
    }
    made.is_ok()
}

fn add(node: &Node, name: &str, asks: &Value) -> Sandbox {
    let mut selection = json!({ "name": name });
    for (key, value) in asks.as_object().unwrap() {
        selection[key] = value.clone();
    }
    let pod = Pod::new("default", name).networks(&json!([selection]).to_string());
    let pod = node.add_pod(pod).unwrap();
    let added = make(node, "ADD", &pod);
    assert!(added.succeeded(), "{name}: {added:#?} {}", node.log());
    pod
}

fn remove_namespace(pod: &Sandbox) {
    run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
}

/// Waits for what the kernel does in its own time, such as taking away a namespace's links.
fn wait_until(what: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !what() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn of_no_reference_plugin_anything_is_left_when_its_del_and_its_namespace_were_gone() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let all = networks_of_all_plugins(node);
        for network in &all {
            node.add_network("default", network.name, &network.conf)
                .unwrap();
        }
        node.start_daemon().unwrap();
        for Network {
            name, asks, kind, ..
        } in all
        {
            if !kernel_has(kind) {
                eprintln!("left out: {name}, for which this kernel has no {kind:?}");
                continue;
            }
            let pod = add(node, name, &asks);
            assert!(make(node, "DEL", &pod).succeeded(), "{name}");
            remove_namespace(&pod);
            assert!(wait_until(|| inspect::links(None).unwrap().iter().all(
                |link| link.kind != "veth" || link.name == "uplink" || link.name == "storage"
            )));
            let heard = State::of(node);

            let pod = add(node, name, &asks);
            assert_ne!(State::of(node), heard, "{name} does something");
            node.kill_daemon().unwrap();
            let deleted = make(node, "DEL", &pod);
            assert!(deleted.succeeded(), "{name}: {deleted:#?}");
            remove_namespace(&pod);
            node.start_daemon().unwrap();
            let is_clean = wait_until(|| State::of(node) == heard);
            assert!(
                is_clean,
                "{name}: {:#?} {heard:#?} {}",
                State::of(node),
                node.log()
            );
        }
    });
}

#[test]
fn what_would_not_be_undone_without_the_namespace_waits_for_the_daemon() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        networks::add_wire("card", "switch").unwrap();
        let card = json!({ "cniVersion": "1.0.0", "name": "card", "type": "host-device", "device": "card" });
        // The plugin finds its rules by the addresses in the namespace.
        let mut masquerade = networks::bridge(node, "masquerade", "10.92.0.0/24");
        masquerade["ipMasq"] = json!(true);
        let bridge = networks::bridge(node, "tuned", "10.93.0.0/24");
        let tuned = json!({ "cniVersion": "1.0.0", "name": "tuned", "plugins": [
            { "type": "bridge", "bridge": "tuned", "ipam": bridge["ipam"] },
            { "type": "tuning", "mtu": 1400 },
        ] });
        let bridge = networks::bridge(node, "source", "10.94.0.0/24");
        let source = json!({ "cniVersion": "1.0.0", "name": "source", "plugins": [
            { "type": "bridge", "bridge": "source", "ipam": bridge["ipam"] },
            { "type": "sbr" },
        ] });
        let all = [
            ("card", card),
            ("masquerade", masquerade),
            ("tuned", tuned),
            ("source", source),
        ];
        for (name, conf) in all {
            node.add_network("default", name, &conf).unwrap();
            node.start_daemon().unwrap();
            let before = State::of(node);
            let pod = add(node, name, &json!({}));
            node.kill_daemon().unwrap();
            let refused = make(node, "DEL", &pod).json().unwrap();
            assert_eq!(refused["code"], 11, "{refused:#}");
            let message = refused["msg"].as_str().unwrap();
            assert!(message.contains("before its namespace goes"), "{message}");
            node.start_daemon().unwrap();
            assert!(make(node, "DEL", &pod).succeeded());
            let after = State::of(node);
            assert_eq!(after.ledger, before.ledger, "{name}");
            assert_eq!(after.kept, before.kept, "{name}");
            assert_eq!(after.addresses, before.addresses, "{name}");
            assert!(after.links.iter().any(|link| link.name == "card"), "{name}");
            let rules = after.firewall.iter().filter(|rule| rule.contains("10.92"));
            assert_eq!(rules.count(), 0, "{name}");
            node.stop_daemon().unwrap();
        }
    });
}

#[test]
fn a_del_that_was_recorded_and_the_daemon_does_not_want_records_any_more_is_carried_out() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pod = add(node, "blue", &json!({}));
        node.kill_daemon().unwrap();
        assert!(make(node, "DEL", &pod).succeeded());
        remove_namespace(&pod);
        node.config["cnidaria"]["deferDels"] = json!(false);
        node.start_daemon().unwrap();
        assert!(wait_until(|| ledger(node).is_empty()), "{}", node.log());
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
        assert!(wait_until(|| !node.path("ledger/.deferred").exists()));
        node.kill_daemon().unwrap();
        assert_eq!(make(node, "DEL", &pod).json().unwrap()["code"], 11);
    });
}

#[test]
fn a_torn_record_is_carried_out_as_the_ledger_tells() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pod = add(node, "blue", &json!({}));
        node.kill_daemon().unwrap();
        assert!(make(node, "DEL", &pod).succeeded());
        remove_namespace(&pod);
        let record = node.path("ledger/.deferred").join(&pod.container_id);
        let text = fs::read(&record).unwrap();
        fs::write(&record, &text[..text.len() / 2]).unwrap();
        node.start_daemon().unwrap();
        assert!(wait_until(|| ledger(node).is_empty()), "{}", node.log());
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
    });
}
