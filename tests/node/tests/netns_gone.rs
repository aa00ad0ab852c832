//! DELs that arrive after the network namespace is gone succeed for every reference plugin and
//! leave nothing the daemon could know of. What cannot be undone stays in the ledger, is shown and
//! is retried.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use node::case::on_a_private_node;
use node::every_plugin::{self, State};
use node::{Node, Pod, Sandbox, inspect, networks, run};
use serde_json::json;

/// Adds a pod with these networks, then deletes its namespace.
fn add_and_lose(node: &Node, name: &str, networks: &str) -> Sandbox {
    let pod = node
        .add_pod(Pod::new("default", name).networks(networks))
        .unwrap();
    let added = node.call("ADD", &pod).unwrap().make().unwrap();
    assert!(added.succeeded(), "{name}: {added:#?} {}", node.log());
    run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
    pod
}

#[test]
fn del_without_netns_releases_addresses() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        networks::add_wire("card", "switch").unwrap();
        let mut all = every_plugin::that_outlive_their_namespace(node);
        all.extend(every_plugin::that_want_their_namespace(node));
        for network in &all {
            node.add_network("default", network.name, &network.conf)
                .unwrap();
        }
        node.start_daemon().unwrap();
        for network in all.iter().filter(|network| network.can_be_had()) {
            let name = network.name;
            let pod = add_and_lose(node, name, &network.selection());
            let before = State::of(node).unwrap();
            assert!(!before.ledger.is_empty(), "{name}");
            let deleted = node.call("DEL", &pod).unwrap().make().unwrap();
            assert!(deleted.succeeded(), "{name}: {deleted:#?} {}", node.log());
            let after = State::of(node).unwrap();
            assert!(after.addresses.is_empty(), "{name}: {after:#?}");
            assert!(after.ledger.is_empty(), "{name}: {after:#?}");
            let again = node.call("DEL", &pod).unwrap().make().unwrap();
            assert!(again.succeeded(), "{name}: {again:#?}");
        }
    });
}

#[test]
fn failed_undo_is_kept_until_forgotten() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let bridge = networks::bridge(node, "half", "10.96.0.0/24");
        let error = json!({ "cniVersion": "1.0.0", "code": 123, "msg": "the switch is away" });
        let conf = json!({ "cniVersion": "1.0.0", "name": "half", "plugins": [
            { "type": "bridge", "bridge": "half", "ipam": bridge["ipam"] },
            { "type": networks::FAKE, "fake": { "DEL": { "error": error } } },
        ] });
        node.add_network("default", "half", &conf).unwrap();
        node.start_daemon().unwrap();
        let pod = add_and_lose(node, "half", "half");
        assert_eq!(inspect::reserved_addresses(node).unwrap().len(), 2);
        let deleted = node.call("DEL", &pod).unwrap().make().unwrap();
        assert!(deleted.succeeded(), "{deleted:#?} {}", node.log());
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
        let kept = node.command_line(&["attachments"]).unwrap();
        assert!(
            kept.contains("half") && kept.contains("the switch is away"),
            "{kept}"
        );
        let id = &pod.container_id[..8];
        let forgotten = node
            .command_line(&["attachments", "forget", id, "net1", "--yes"])
            .unwrap();
        assert!(forgotten.contains("forgot net1"), "{forgotten}");
        let state = State::of(node).unwrap();
        // The note keeps a repeated DEL from executing what was given up.
        let note = format!(".forgotten/{}", pod.container_id);
        assert_eq!(state.ledger, [note], "{state:#?}");
    });
}
