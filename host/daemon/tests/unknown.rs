//! DELs of containers that neither the ledger nor the result cache knows, on fakes of every port.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::domain::pod::DEFAULT_NETWORK_ANNOTATION;
use cnidaria_core::ports::Ledger;
use support::{World, body};

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
