//! DELs that arrive while no daemon runs and whose namespaces are gone when it is back: as with any
//! DEL, no reference plugin leaves anything behind.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::path::PathBuf;

use node::case::on_a_private_node;
use node::every_plugin::{self, State};
use node::inspect;
use node::{Node, Pod, Sandbox, networks, run};
use serde_json::json;

fn ledger(node: &Node) -> Vec<PathBuf> {
    let files = inspect::files(&node.path("ledger")).unwrap();
    files.into_keys().collect()
}

fn add(node: &Node, name: &str, networks: &str) -> Sandbox {
    let pod = node
        .add_pod(Pod::new("default", name).networks(networks))
        .unwrap();
    let added = node.make("ADD", &pod);
    assert!(added.succeeded(), "{name}: {added:#?} {}", node.log());
    pod
}

fn remove_namespace(pod: &Sandbox) {
    run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
}

#[test]
fn deferred_del_cleans_up_reference_plugins() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let all = every_plugin::that_outlive_their_namespace(node);
        for network in &all {
            node.add_network("default", network.name, &network.conf)
                .unwrap();
        }
        node.start_daemon().unwrap();
        for network in all.iter().filter(|network| network.can_be_had()) {
            let name = network.name;
            let pod = add(node, name, &network.selection());
            assert!(node.make("DEL", &pod).succeeded(), "{name}");
            remove_namespace(&pod);
            // The kernel removes a namespace's links asynchronously.
            node.until("the pod's links are gone", || {
                inspect::links(None).unwrap().iter().all(|link| {
                    link.kind != "veth" || link.name == "uplink" || link.name == "storage"
                })
            });
            let heard = State::of(node).unwrap();

            let pod = add(node, name, &network.selection());
            assert_ne!(State::of(node).unwrap(), heard, "{name} does something");
            node.kill_daemon().unwrap();
            let deleted = node.make("DEL", &pod);
            assert!(deleted.succeeded(), "{name}: {deleted:#?}");
            remove_namespace(&pod);
            node.start_daemon().unwrap();
            node.until(name, || State::of(node).unwrap() == heard);
        }
    });
}

#[test]
fn del_is_not_deferred_if_plugin_needs_netns() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        networks::add_wire("card", "switch").unwrap();
        let all = every_plugin::that_want_their_namespace(node);
        for network in all.iter().filter(|network| network.can_be_had()) {
            let name = network.name;
            node.add_network("default", name, &network.conf).unwrap();
            node.start_daemon().unwrap();
            let before = State::of(node).unwrap();
            let pod = add(node, name, &network.selection());
            node.kill_daemon().unwrap();
            let refused = node.make("DEL", &pod).json().unwrap();
            assert_eq!(refused["code"], 11, "{refused:#}");
            let message = refused["msg"].as_str().unwrap();
            assert!(message.contains("before its namespace goes"), "{message}");
            node.start_daemon().unwrap();
            assert!(node.make("DEL", &pod).succeeded());
            let after = State::of(node).unwrap();
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
fn recorded_del_runs_with_deferral_disabled() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pod = add(node, "blue", "blue");
        node.kill_daemon().unwrap();
        assert!(node.make("DEL", &pod).succeeded());
        remove_namespace(&pod);
        node.config["cnidaria"]["deferDels"] = json!(false);
        node.start_daemon().unwrap();
        node.until("the ledger is empty", || ledger(node).is_empty());
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
        node.until("no records are left", || {
            !node.path("ledger/.deferred").exists()
        });
        node.kill_daemon().unwrap();
        assert_eq!(node.make("DEL", &pod).json().unwrap()["code"], 11);
    });
}

#[test]
fn torn_record_is_completed_from_the_ledger() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pod = add(node, "blue", "blue");
        node.kill_daemon().unwrap();
        assert!(node.make("DEL", &pod).succeeded());
        remove_namespace(&pod);
        let record = node.path("ledger/.deferred").join(&pod.container_id);
        let text = fs::read(&record).unwrap();
        fs::write(&record, &text[..text.len() / 2]).unwrap();
        node.start_daemon().unwrap();
        node.until("the ledger is empty", || ledger(node).is_empty());
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
    });
}
