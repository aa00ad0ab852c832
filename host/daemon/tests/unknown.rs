//! DELs of containers that neither the ledger nor the result cache knows, on fakes of every port.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cni_types::json::RawObject;
use cnidaria_core::domain::pod::DEFAULT_NETWORK_ANNOTATION;
use cnidaria_core::ports::Ledger;
use support::{DIR, World, body};

fn annotate(world: &World, pod: &str, annotation: &str, text: &str) {
    let mut pods = world.pods.lock().unwrap();
    let annotations = &mut pods.get_mut(pod).unwrap().annotations;
    annotations.insert(annotation.to_owned(), text.to_owned());
}

/// The networks and interfaces that a DEL of pod `a` undid.
async fn deleted(world: &Arc<World>) -> Vec<String> {
    world.log();
    world.pipeline().handle(&body("DEL", "a")).await.unwrap();
    let mut log = world.log();
    log.retain(|done| done.starts_with("del "));
    log
}

#[tokio::test]
async fn a_missing_network_hides_no_other() {
    let world = World::new();
    world.pod("a", "one,missing@x0,two,other/three");
    assert_eq!(deleted(&world).await, ["del two", "del one", "del default"]);
}

#[tokio::test]
async fn a_network_behind_a_missing_one_keeps_its_name() {
    let world = World::new();
    world.pod("a", "missing,two");
    // Without a namespace, the fake logs which interface is undone.
    world.fail("netns of the node");
    world.pipeline().handle(&body("DEL", "a")).await.unwrap();
    let log = world.log();
    assert!(log.contains(&"without netns net2".to_owned()), "{log:?}");
}

#[tokio::test]
async fn the_pods_own_default_network_is_undone() {
    let world = World::new();
    world.pod("a", "one,missing");
    annotate(&world, "a", DEFAULT_NETWORK_ANNOTATION, "default/three");
    assert_eq!(deleted(&world).await, ["del one", "del three"]);
    annotate(&world, "a", DEFAULT_NETWORK_ANNOTATION, "default/missing");
    assert_eq!(deleted(&world).await, ["del one", "del default"]);
}

#[tokio::test]
async fn bad_annotation_still_undoes_default_network() {
    let world = World::new();
    world.pod("a", "[{");
    annotate(&world, "a", DEFAULT_NETWORK_ANNOTATION, "default/three");
    assert_eq!(deleted(&world).await, ["del three"]);
}

#[tokio::test]
async fn what_isolation_refused_is_not_undone() {
    let world = World::new();
    world.pod("a", "one,elsewhere/two");
    let two = world.nads.lock().unwrap().get("default/two").cloned();
    let nad = ("elsewhere/two".to_owned(), two.unwrap());
    world.nads.lock().unwrap().extend([nad]);
    let overrides = RawObject::parse(r#"{"namespaceIsolation":true}"#).unwrap();
    let ledger = Arc::clone(&world) as Arc<dyn Ledger>;
    let pipeline = world.pipeline_with(ledger, overrides);
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log(), ["pod a", "del one", "del default"]);
}

#[tokio::test]
async fn next_del_undoes_a_network_that_reappeared() {
    let world = World::new();
    world.pod("a", "one,two");
    let two = world.nads.lock().unwrap().remove("default/two").unwrap();
    let pipeline = world.pipeline();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    world.log();
    let nad = ("default/two".to_owned(), two);
    world.nads.lock().unwrap().extend([nad]);
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    let all = ["pod a", "del two", "del one", "del default"];
    assert_eq!(world.log(), all);
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(world.log().is_empty(), "deleted already");
}

#[tokio::test]
async fn without_its_device_a_network_is_undone() {
    let world = World::new();
    world.pod("a", "one,two");
    let needs = ("one".to_owned(), "vendor/nic".to_owned());
    world.resources.lock().unwrap().extend([needs]);
    world.fail("devices a uid-a");
    assert_eq!(deleted(&world).await, ["del two", "del one", "del default"]);
}

/// Answers a DEL of an unknown container whose delegate does not finish, and returns the world of the
/// next daemon, if this one is killed.
async fn answered_early(faults: &[&str]) -> Arc<World> {
    let world = World::new();
    for fault in faults {
        world.fail(fault);
    }
    world.pipeline().handle(&body("DEL", "a")).await.unwrap();
    assert!(world.deferred.lock().unwrap().contains_key("cid-a"));
    world
}

#[tokio::test(start_paused = true)]
async fn an_early_success_outlives_the_daemon() {
    for faults in [
        // Once the namespace is gone, and at the deadline.
        &["netns gone", "hang del default"][..],
        &["hang del default"],
    ] {
        let world = answered_early(faults).await;
        world.running.lock().unwrap().clear();
        world.mend();
        world.log();
        let next = world.pipeline();
        next.finish_deferred(Path::new(DIR), false).await;
        let log = world.log();
        assert_eq!(log.last().unwrap(), "del default", "{log:?}");
        // The path of the request may be another pod's by then.
        let is_outside = log.contains(&"without netns eth0".to_owned());
        assert!(is_outside, "{log:?}");
        assert!(world.deferred.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_success_is_carried_out_once() {
    let world = answered_early(&["netns gone", "time out del default"]).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(world.deferred.lock().unwrap().is_empty());
    let log = world.log();
    let runs = log.iter().filter(|done| done.contains("del default"));
    assert_eq!(runs.count(), 1, "{log:?}");
}
