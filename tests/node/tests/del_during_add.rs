//! A DEL that overtakes an ADD on real delegates: host-local gets its addresses back at whatever
//! point it was killed. It creates the address file first and writes the owner afterwards, so a
//! kill in between leaves a file that no DEL finds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::thread;
use std::time::{Duration, Instant};

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Node, Pod, Sandbox, networks};

const ROUNDS: u32 = 24;

fn prepare(node: &mut Node) -> Sandbox {
    let mut prepare = || {
        networks::prepare(node)?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a").networks("blue,blue"))
    };
    prepare().unwrap_or_else(|error: node::Error| unreachable!("{}", error.chain()))
}

#[test]
fn del_during_add_releases_all_addresses() {
    on_a_private_node(|node| {
        let pod = prepare(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        // Measures one ADD, to spread the rounds over its duration.
        let begun = Instant::now();
        assert!(node.call("ADD", &pod).unwrap().make().unwrap().succeeded());
        let whole = begun.elapsed();
        assert!(node.call("DEL", &pod).unwrap().make().unwrap().succeeded());
        let mut overtaken = 0;
        for round in 0..ROUNDS {
            let call = node.call("ADD", &pod).unwrap();
            let adding = thread::spawn(move || call.make().unwrap());
            thread::sleep(whole * round / ROUNDS + Duration::from_millis(1));
            let deleted = node.call("DEL", &pod).unwrap().make().unwrap();
            assert!(deleted.succeeded(), "{deleted:#?} {}", node.log());
            let added = adding.join().unwrap();
            // If the DEL came first, it overtook nothing.
            let added_after =
                added.succeeded() && !inspect::files(&node.path("ledger")).unwrap().is_empty();
            if added_after {
                assert!(node.call("DEL", &pod).unwrap().make().unwrap().succeeded());
            }
            if !added.succeeded() {
                assert_eq!(added.json().unwrap()["code"], 11, "{added:#?}");
                overtaken += 1;
            }
            let left = Traces::of(node, &pod.netns_name).unwrap();
            assert_eq!(left, clean, "round {round}: {added:#?} {}", node.log());
        }
        assert!(overtaken > 0, "no DEL came while an ADD ran");
    });
}
