//! Delegates that hang: what waits for them and what must not, on fakes of every port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cni_types::args::ContainerId;
use cni_types::result::CniResult;
use cnidaria_core::conf::timeouts::Timeouts;
use cnidaria_core::pipeline::{Error, Pipeline};
use daemon::response;
use support::{DIR, World, body, gc_body, retry};
use tokio::task::JoinHandle;

/// Adds a pod with these networks.
async fn added(world: &Arc<World>, pipeline: &Arc<Pipeline>, pod: &str, networks: &str) {
    world.pod(pod, networks);
    pipeline.handle(&body("ADD", pod)).await.unwrap();
}

fn count(world: &World, what: &str) -> usize {
    let log = world.log.lock().unwrap();
    log.iter().filter(|done| *done == what).count()
}

/// Starts a request, and waits until it hangs.
async fn hanging_in(
    world: &World,
    pipeline: &Arc<Pipeline>,
    body: Vec<u8>,
    delegate: &str,
) -> JoinHandle<Result<Option<CniResult>, Error>> {
    let pipeline = Arc::clone(pipeline);
    let request = tokio::spawn(async move { pipeline.handle(&body).await });
    while count(world, delegate) == 0 {
        tokio::task::yield_now().await;
    }
    request
}

fn is_recorded(world: &World, pod: &str) -> bool {
    let recorded = world.recorded.lock().unwrap();
    recorded.contains_key(&format!("cid-{pod}"))
}

#[tokio::test(start_paused = true)]
async fn a_del_without_a_namespace_does_not_wait() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    world.fail("netns gone");
    for _ in 0..3 {
        let begun = tokio::time::Instant::now();
        pipeline.handle(&body("DEL", "a")).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_secs(10));
        assert!(world.undos.lock().unwrap().contains_key("cid-a"));
    }
    assert_eq!(count(&world, "time out del one"), 1, "beside one that runs");
    tokio::time::sleep(Duration::from_secs(90)).await;
    let undo = world.undos.lock().unwrap()["cid-a"].clone();
    let [left] = &undo.attachments[..] else {
        panic!("{undo:?}");
    };
    assert!(left.timed_out && left.attempts == 1, "{left:?}");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(count(&world, "time out del one"), 1, "left to its retry");
    world.fail.lock().unwrap().remove("time out del one");
    retry(&pipeline, 60).await;
    assert!(!is_recorded(&world, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_del_meets_a_running_retry() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    world.fail("netns gone");
    let retrying = Arc::clone(&pipeline);
    let retries = tokio::spawn(async move { retry(&retrying, 600).await });
    while count(&world, "time out del one") < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let begun = tokio::time::Instant::now();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    retries.abort();
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_lives_gets_the_error() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    let (first, second) = (body("DEL", "a"), body("DEL", "a"));
    let (first, second) = tokio::join!(pipeline.handle(&first), pipeline.handle(&second));
    assert!(matches!(first, Err(Error::Delegate(_))), "{first:?}");
    assert!(matches!(second, Err(Error::Continues(_))), "{second:?}");
    assert!(is_recorded(&world, "a"));
}

#[tokio::test(start_paused = true)]
async fn dels_that_wait_do_not_pile_up() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    let all = (0..5).map(|_| async { pipeline.handle(&body("DEL", "a")).await });
    for answer in futures_util::future::join_all(all).await {
        let error = answer.unwrap_err();
        assert_eq!(response::cni_error(&error).code, 11, "{error}");
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(count(&world, "time out del one"), 2, "within the deadline");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_container_is_held_up_by_no_hang() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    world.fail("hang del one");
    // With a namespace, too: no attachment is known to exist.
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    world.fail("netns gone");
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        pipeline.handle(&body("DEL", "a")).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn an_add_says_what_it_would_wait_for() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    world.fail("netns gone");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    world.fail.lock().unwrap().remove("netns gone");
    *world.namespaces.lock().unwrap() += 1;
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    let error = response::cni_error(&error);
    assert_eq!(error.code, 11);
    assert!(
        error.msg.contains(r#"net1 of network "default/one""#),
        "{}",
        error.msg
    );
    assert_eq!(count(&world, "add one"), 1, "nothing began");
    // Once the delegate has been killed, its attachment is given up.
    tokio::time::sleep(Duration::from_secs(90)).await;
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    assert_eq!(count(&world, "time out del one"), 1);
    let log = world.log();
    let event = "event UndoGivenUp: interface net1";
    assert!(log.iter().any(|done| done.starts_with(event)), "{log:?}");
    assert!(pipeline.undos(Path::new(DIR)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_add_gives_up_nothing_of_a_live_namespace() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(matches!(error, Error::Removing(_)), "{error}");
    assert!(is_recorded(&world, "a"));
}

#[tokio::test(start_paused = true)]
async fn one_containers_hang_fails_no_gc() {
    let world = World::new();
    let pipeline = world.pipeline();
    for pod in ["a", "b"] {
        added(&world, &pipeline, pod, "one").await;
    }
    added(&world, &pipeline, "c", "two").await;
    world.fail("time out del one");
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        pipeline.handle(&gc_body(Some("cid-other"))).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_secs(10));
    }
    assert!(!is_recorded(&world, "c") && is_recorded(&world, "a"));
    assert_eq!(count(&world, "time out del one"), 2, "once each");
    tokio::time::sleep(Duration::from_secs(90)).await;
    world.fail.lock().unwrap().remove("time out del one");
    retry(&pipeline, 60).await;
    assert!(!is_recorded(&world, "a") && !is_recorded(&world, "b"));
}

#[tokio::test(start_paused = true)]
async fn retries_of_one_network_hold_up_no_other() {
    let world = World::new();
    let pipeline = world.pipeline();
    for number in 0..16 {
        added(&world, &pipeline, &format!("h{number}"), "one").await;
    }
    added(&world, &pipeline, "p", "two").await;
    world.fail("netns gone");
    for fault in ["del one", "del two"] {
        world.fail(fault);
    }
    for number in 0..16 {
        let del = body("DEL", &format!("h{number}"));
        pipeline.handle(&del).await.unwrap();
    }
    pipeline.handle(&body("DEL", "p")).await.unwrap();
    world.fail.lock().unwrap().remove("del two");
    world.fail("time out del one");
    retry(&pipeline, 6).await;
    assert!(!is_recorded(&world, "p"));
    assert_eq!(count(&world, "time out del one"), 2, "at a time");
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_a_hang_holds_up_no_network() {
    let world = World::new();
    let pipeline = world.pipeline();
    for number in 0..20 {
        added(&world, &pipeline, &format!("h{number}"), "one").await;
    }
    *world.boot.lock().unwrap() = "another".to_owned();
    world.fail("time out del one");
    let next = world.pipeline();
    world.log();
    retry(&next, 60).await;
    assert_eq!(count(&world, "del default"), 20);
    assert_eq!(count(&world, "time out del one"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_gc_holds_up_no_other_network() {
    let (world, pipeline) = World::with_pod("a", "one,two,three").await;
    world.pod("b", "two");
    world.pod("c", "one");
    world.fail("hang gc one");
    let gc = hanging_in(&world, &pipeline, gc_body(Some("cid-a")), "hang gc one").await;
    let begun = tokio::time::Instant::now();
    pipeline.handle(&body("ADD", "b")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    pipeline.handle(&body("ADD", "c")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "GC is killed");
    let error = gc.await.unwrap().unwrap_err();
    assert!(error.to_string().contains(r#"network "one""#), "{error}");
}

#[tokio::test]
async fn gc_runs_once_for_a_networks_conf() {
    let world = World::new();
    let pipeline = world.pipeline();
    for pod in ["a", "b", "c"] {
        let networks = format!(r#"[{{"name":"one","cni-args":{{"for":"{pod}"}}}}]"#);
        added(&world, &pipeline, pod, &networks).await;
    }
    world.log();
    pipeline.handle(&gc_body(None)).await.unwrap();
    assert_eq!(count(&world, "gc one"), 1);
    assert_eq!(count(&world, "gc default"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_del_cancels_a_check_that_hangs() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("hang check one");
    let check = hanging_in(&world, &pipeline, body("CHECK", "a"), "hang check one").await;
    let begun = tokio::time::Instant::now();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let error = check.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Superseded), "{error}");
}

#[tokio::test(start_paused = true)]
async fn forgetting_says_what_has_the_turn() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("time out del one");
    world.fail("netns gone");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    let container = ContainerId::new("cid-a").unwrap();
    let begun = tokio::time::Instant::now();
    let error = pipeline.forget(Path::new(DIR), &container, None).await;
    let error = error.unwrap_err();
    assert!(begun.elapsed() <= Duration::from_secs(10));
    let error = response::cni_error(&error);
    assert_eq!(error.code, 11);
    let said = "a DEL has been running for";
    assert!(error.msg.contains(said), "{}", error.msg);
    assert!(is_recorded(&world, "a"), "nothing is forgotten");
    tokio::time::sleep(Duration::from_secs(90)).await;
    let forgotten = pipeline.forget(Path::new(DIR), &container, None).await;
    assert_eq!(forgotten.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_and_a_hang_hold_no_del() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    for fault in ["load", "netns gone", "hang del default"] {
        world.fail(fault);
    }
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        pipeline.handle(&body("DEL", "a")).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_secs(10));
        assert!(world.undos.lock().unwrap().contains_key("cid-a"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_gc_holds_up_no_namesake() {
    let world = World::new();
    world.pod("a", "evil/x");
    world.pod("b", "one");
    let conf = r#"{"cniVersion":"1.0.0","name":"one","type":"x"}"#;
    let nad = ("evil/x".to_owned(), conf.to_owned());
    world.nads.lock().unwrap().extend([nad]);
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    world.fail("hang gc one");
    let gc = hanging_in(&world, &pipeline, gc_body(Some("cid-a")), "hang gc one").await;
    let begun = tokio::time::Instant::now();
    pipeline.handle(&body("ADD", "b")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    gc.abort();
}

/// Adds pods to networks of which each hangs in GC.
async fn hanging(world: &Arc<World>, pipeline: &Arc<Pipeline>, networks: usize) {
    for number in 0..networks {
        let name = format!("t{number}");
        let conf = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"t"}}"#);
        let nad = (format!("default/{name}"), conf);
        world.nads.lock().unwrap().extend([nad]);
        added(world, pipeline, &name, &name).await;
        world.fail(&format!("hang gc {name}"));
    }
}

#[tokio::test(start_paused = true)]
async fn many_hanging_networks_hold_up_no_gc() {
    let world = World::new();
    let pipeline = world.pipeline();
    hanging(&world, &pipeline, 24).await;
    // Their names sort after those that hang.
    for network in ["two", "three"] {
        added(&world, &pipeline, network, network).await;
    }
    let one = Timeouts::default().collection();
    let collect = async || {
        let begun = tokio::time::Instant::now();
        let failed = pipeline.handle(&gc_body(None)).await.unwrap_err();
        let elapsed = begun.elapsed();
        assert!(elapsed < one + Duration::from_secs(5), "{elapsed:?}");
        response::cni_error(&failed).to_string()
    };
    let message = collect().await;
    assert!(message.contains("GC did not finish"), "{message}");
    assert!(message.contains("continues in the background"), "{message}");
    assert_eq!(count(&world, "gc two"), 0);
    tokio::time::sleep(4 * one).await;
    assert_eq!(count(&world, "gc two"), 1, "in the background");
    // Networks that hung come last the next time.
    collect().await;
    assert_eq!(count(&world, "gc two"), 2);
    assert_eq!(count(&world, "gc three"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_gc_takes_the_place_of_an_earlier_one() {
    let world = World::new();
    let pipeline = world.pipeline();
    hanging(&world, &pipeline, 24).await;
    pipeline.handle(&gc_body(None)).await.unwrap_err();
    world.mend();
    pipeline.handle(&gc_body(None)).await.unwrap();
    world.log();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.log().is_empty(), "the first one's rest");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_panics_ends_no_other() {
    let world = World::new();
    let pipeline = world.pipeline();
    for (pod, network) in [("a", "one"), ("b", "two")] {
        added(&world, &pipeline, pod, network).await;
        world.fail(&format!("del {network}"));
        pipeline.handle(&body("DEL", pod)).await.unwrap_err();
    }
    world.mend();
    world.fail("panic del one");
    retry(&pipeline, 60).await;
    assert!(!is_recorded(&world, "b"));
    let undo = world.undos.lock().unwrap()["cid-a"].clone();
    assert!(undo.retries > 2, "{undo:?}");
    assert!(undo.reason.contains("panicked"), "{undo:?}");
    world.mend();
    retry(&pipeline, 600).await;
    assert!(!is_recorded(&world, "a"));
}
