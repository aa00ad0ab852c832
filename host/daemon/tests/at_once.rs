//! Concurrent attachments of one pod, on fakes of every port.

mod support;

use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::pipeline::{Error, Pipeline};
use cnidaria_core::ports::Ledger;
use support::{World, body};

/// A pod that selects three networks.
fn world() -> Arc<World> {
    let world = World::new();
    world.pod("a", "one,two,three");
    world
}

fn at_once(world: &Arc<World>, count: usize) -> Arc<Pipeline> {
    let ledger = Arc::clone(world) as Arc<dyn Ledger>;
    Arc::new(
        world
            .unshared(ledger, RawObject::new())
            .attaching_at_once(count),
    )
}

async fn add(world: &Arc<World>, count: usize) -> Result<(), Error> {
    let added = at_once(world, count).handle(&body("ADD", "a")).await;
    added.map(drop)
}

/// The log of delegates and ledger, without what comes before and after.
fn attached(world: &World) -> Vec<String> {
    let log = world.log();
    let about = |one: &&String| one.starts_with("add ") || one.starts_with("record-result ");
    log.iter().filter(about).cloned().collect()
}

#[tokio::test]
async fn completion_order_does_not_affect_events() {
    let world = world();
    world.slow("one", "record-result three");
    world.slow("two", "add three");
    world.slow("three", "record-result two");
    add(&world, 8).await.unwrap();
    assert_eq!(
        attached(&world),
        [
            "add default",
            "record-result default",
            "add one",
            "add two",
            "add three",
            "record-result two",
            "record-result three",
            "record-result one",
        ]
    );
    let at_once = (
        world.told.lock().unwrap().clone(),
        world.statuses.lock().unwrap().clone(),
    );

    let world = self::world();
    add(&world, 1).await.unwrap();
    let one_after_the_other = (
        world.told.lock().unwrap().clone(),
        world.statuses.lock().unwrap().clone(),
    );
    assert_eq!(at_once, one_after_the_other);
    assert_eq!(at_once.0.len(), 8);
}

#[tokio::test]
async fn no_more_run_at_once_than_are_allowed() {
    let world = world();
    world.slow("one", "record-result two");
    add(&world, 2).await.unwrap();
    let attached = attached(&world);
    let position = |what: &str| attached.iter().position(|one| one == what).unwrap();
    assert!(position("add two") < position("record-result two"));
    assert!(position("record-result two") < position("add three"));
}

#[tokio::test]
async fn first_planned_failure_is_reported() {
    let world = world();
    world.fail("add one");
    world.slow("one", "add three");
    world.fail("add three");
    world.slow("two", "add three");
    let error = add(&world, 8).await.unwrap_err();
    assert!(error.to_string().contains("add one"), "{error}");
    let log = world.log();
    assert_eq!(
        log[log.len() - 5..],
        ["del three", "del two", "del one", "del default", "forget"]
    );
    assert!(world.recorded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn denial_outranks_later_failure() {
    let world = world();
    world.fail("add two");
    world.slow("one", "add three");
    world.fail("deny after-add one");
    let error = add(&world, 8).await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    let told = world.told.lock().unwrap().clone();
    assert_eq!(told.last().map(String::as_str), Some("after-add one"));
}

#[tokio::test]
async fn failure_starts_no_more_delegates() {
    let world = world();
    world.fail("add one");
    world.fail("not executed");
    add(&world, 2).await.unwrap_err();
    let log = world.log();
    assert!(!log.contains(&"add three".to_owned()), "{log:?}");
    assert_eq!(log[log.len() - 3..], ["del two", "del default", "forget"]);
}

#[tokio::test]
async fn del_cancels_and_undoes_hung_delegates() {
    let world = world();
    world.fail("hang one");
    world.fail("hang three");
    let pipeline = Arc::new(at_once(&world, 8));
    let adding = Arc::clone(&pipeline);
    let adding = tokio::spawn(async move { adding.handle(&body("ADD", "a")).await });
    while !world.log.lock().unwrap().contains(&"add three".to_owned()) {
        tokio::task::yield_now().await;
    }
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(matches!(adding.await.unwrap(), Err(Error::Superseded)));
    let log = world.log();
    let undone: Vec<_> = log.iter().filter(|one| one.starts_with("del ")).collect();
    assert_eq!(undone, ["del three", "del two", "del one", "del default"]);
}

#[tokio::test]
async fn default_route_claim_serialises_delegates() {
    let world = World::new();
    world.pod(
        "a",
        r#"[{"name":"one"},{"name":"two","default-route":["10.0.0.9"]},{"name":"three"}]"#,
    );
    add(&world, 8).await.unwrap();
    let attached = attached(&world);
    let expected = ["default", "one", "two", "three"]
        .map(|name| [format!("add {name}"), format!("record-result {name}")]);
    assert_eq!(attached[..8], expected.concat());
}
