//! What policies do to the networks of a pod, and what they hear of an ADD that fails, on fakes of
//! every port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::pipeline::Pipeline;
use cnidaria_core::ports::Ledger;
use daemon::response;
use support::{World, body};

const NODE: &str =
    r#"{"clusterNetwork":"one","defaultNetworks":["two"],"multusNamespace":"default"}"#;

/// A node that gives `two` to every pod.
fn pipeline(world: &Arc<World>, overrides: &str) -> Arc<Pipeline> {
    let overrides = RawObject::parse(overrides).unwrap();
    let ledger = Arc::clone(world) as Arc<dyn Ledger>;
    world.pipeline_with(ledger, overrides)
}

/// Makes the policy do something to the networks, or to an attachment.
fn edit(world: &World, what: &str, how: &str) {
    let mut edits = world.edits.lock().unwrap();
    edits.insert(what.to_owned(), how.to_owned());
}

fn added(world: &World) -> Vec<String> {
    let log = world.log();
    let added = log.iter().filter_map(|line| line.strip_prefix("add "));
    added.map(str::to_owned).collect()
}

async fn fails(pipeline: &Arc<Pipeline>) -> String {
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    response::cni_error(&error).to_string()
}

#[tokio::test]
async fn a_policy_drops_a_network_of_the_node() {
    let world = World::new();
    world.pod("a", "three");
    pipeline(&world, NODE)
        .handle(&body("ADD", "a"))
        .await
        .unwrap();
    assert_eq!(added(&world), ["one", "two", "three"]);
    let world = World::new();
    world.pod("a", "three");
    edit(&world, "select", "drop two");
    pipeline(&world, NODE)
        .handle(&body("ADD", "a"))
        .await
        .unwrap();
    assert_eq!(added(&world), ["one", "three"]);
}

#[tokio::test]
async fn a_policy_sets_the_default_network() {
    let world = World::new();
    world.pod("a", "one");
    edit(&world, "select", "default three");
    world.pipeline().handle(&body("ADD", "a")).await.unwrap();
    assert_eq!(added(&world), ["three", "one"]);
    let recorded = world.recorded.lock().unwrap();
    let first = &recorded["cid-a"][0];
    assert!(first.is_default && first.is_chosen);
    assert_eq!(first.if_name.as_str(), "eth0");
}

#[tokio::test]
async fn a_default_network_stays_in_reach_of_the_pod() {
    let world = World::new();
    world.pod("a", "one");
    edit(&world, "select", "default other/three");
    let pipeline = pipeline(&world, r#"{"namespaceIsolation":true}"#);
    let message = fails(&pipeline).await;
    assert!(
        message.contains(r#"policy "p", for pod default/a: network other/three"#),
        "{message}"
    );
    assert!(added(&world).is_empty());
}

#[tokio::test]
async fn a_missing_network_is_its_policys_fault() {
    let world = World::new();
    world.pod("a", "one");
    edit(&world, "select", "insert nothing");
    let message = fails(&world.pipeline()).await;
    assert!(
        message.contains(r#"network "default/nothing" (selected by policy "p")"#),
        "{message}"
    );
}

#[tokio::test]
async fn a_skipped_network_is_not_attached() {
    let world = World::new();
    world.pod("a", "one,two,three");
    edit(&world, "two", "skip");
    world.pipeline().handle(&body("ADD", "a")).await.unwrap();
    assert_eq!(added(&world), ["default", "one", "three"]);
    let recorded = world.recorded.lock().unwrap();
    let names = recorded["cid-a"].iter().map(|one| one.if_name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["eth0", "net1", "net3"]);
}

#[tokio::test]
async fn policies_hear_of_failed_adds_after_the_undo() {
    for (failure, expected) in [
        ("deny select", r#"add-failed 0 Some(("p", "select"))"#),
        ("deny settle", r#"add-failed 0 Some(("p", "settle"))"#),
        ("add two", "add-failed 3 None"),
        ("deny finalize", r#"add-failed 3 Some(("p", "finalize"))"#),
    ] {
        let world = World::new();
        world.pod("a", "one,two");
        world.fail(failure);
        fails(&world.pipeline()).await;
        let bonds = world.bonds.lock().unwrap();
        assert!(bonds.contains(&expected.to_owned()), "{failure}: {bonds:?}");
    }
}
