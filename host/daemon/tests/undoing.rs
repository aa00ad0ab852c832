//! The rules of DEL and GC, and of what they leave, on fakes of every port.

mod support;

use std::sync::Arc;

use cnidaria_core::pipeline::{Error, Pipeline};
use daemon::response;
use support::{World, body, gc_body};

/// The code and message that the runtime gets.
fn told(error: &Error) -> (u32, String) {
    let error = response::cni_error(error);
    (error.code, error.to_string())
}

#[tokio::test]
async fn del_continues_past_errors() {
    let (world, pipeline) = World::with_pod("a", "one,two").await;
    world.log();
    world.fail("del two");
    world.fail("del default");
    let error = pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    let (code, message) = told(&error);
    assert_eq!(code, 123);
    assert!(
        message.contains("del two") && message.contains("del default"),
        "{message}"
    );
    assert_eq!(world.log(), ["del two", "del one", "del default", "record"]);
    world.mend();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log().last().unwrap(), "forget");
}

#[tokio::test]
async fn a_del_detaches_before_it_asks_policies() {
    let (world, pipeline) = World::with_pod("a", "one,two").await;
    world.log();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    let seen_off = world.seen_off.lock().unwrap().clone();
    let expected = ["two", "one", "default"].map(|network| (network.to_owned(), 3));
    assert_eq!(seen_off, expected);
}

#[tokio::test]
async fn del_of_unknown_pod_undoes_default_network() {
    let world = World::new();
    let pipeline = world.pipeline();
    world.fail("del default");
    pipeline.handle(&body("DEL", "ghost")).await.unwrap();
    assert_eq!(world.log(), ["pod ghost", "del default"]);
    world.mend();
    pipeline.handle(&body("DEL", "ghost")).await.unwrap();
    assert_eq!(world.log(), ["pod ghost", "del default"]);
    pipeline.handle(&body("DEL", "ghost")).await.unwrap();
    assert_eq!(world.log(), Vec::<String>::new(), "deleted already");
}

#[tokio::test]
async fn del_of_unrecorded_pod_uses_its_annotation() {
    let world = World::new();
    world.pod("a", "one");
    world.pipeline().handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log(), ["pod a", "del one", "del default"]);
}

#[tokio::test]
async fn results_come_before_the_cluster() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    let plan = world.recorded.lock().unwrap().remove("cid-a").unwrap();
    let results = plan.into_iter().filter(|entry| entry.is_default);
    let results = (String::from("cid-a"), results.collect());
    world.results.lock().unwrap().extend([results]);
    world.log();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log(), ["del default", "forget"]);
}

#[tokio::test]
async fn del_succeeds_when_the_pod_is_gone() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.pods.lock().unwrap().clear();
    world.nads.lock().unwrap().clear();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
}

#[tokio::test]
async fn del_with_damaged_ledger_uses_the_annotation() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.log();
    world.fail("load");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log(), ["pod a", "del one", "del default", "forget"]);

    // Without the pod, the daemon cannot find out what to undo.
    world.pods.lock().unwrap().clear();
    let error = pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    assert!(told(&error).1.contains("damaged"), "{error}");
    assert!(!world.log().contains(&"forget".to_owned()));
}

#[tokio::test]
async fn gc_undoes_containers_unknown_to_runtime() {
    let world = World::new();
    world.pod("a", "one");
    world.pod("b", "two");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    pipeline.handle(&body("ADD", "b")).await.unwrap();
    world.log();
    pipeline.handle(&gc_body(Some("cid-b"))).await.unwrap();
    let log = world.log();
    assert_eq!(log[..3], ["del one", "del default", "forget"]);
    for network in ["gc default", "gc one", "gc two"] {
        assert!(log.iter().any(|done| done == network), "{log:?}");
    }
    assert!(
        log.contains(&"valid cid-b/eth0 cid-b/net1".to_owned()),
        "{log:?}"
    );
    assert!(!world.recorded.lock().unwrap().contains_key("cid-a"));
}

#[tokio::test]
async fn gc_without_attachment_list_undoes_nothing() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.log();
    pipeline.handle(&gc_body(None)).await.unwrap();
    assert!(!world.log().iter().any(|done| done.starts_with("del")));
}

#[tokio::test]
async fn gc_goes_on_past_errors_and_returns_all() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("del one");
    world.fail("gc default");
    let error = pipeline.handle(&gc_body(Some("cid-x"))).await.unwrap_err();
    let (_, message) = told(&error);
    assert!(message.contains("gc default"), "{message}");
    assert!(
        !message.contains("del one"),
        "one sandbox fails no GC: {message}"
    );
    let undo = world.undos.lock().unwrap().get("cid-a").cloned().unwrap();
    assert!(undo.reason.contains("del one"), "{}", undo.reason);
    assert!(
        world.recorded.lock().unwrap().contains_key("cid-a"),
        "what is left stays recorded"
    );
}

/// Sends a DEL as soon as the first secondary network's ADD runs.
async fn del_overtakes_add(world: &Arc<World>) {
    let pipeline = world.pipeline();
    let (add, del) = (body("ADD", "a"), body("DEL", "a"));
    let (added, deleted) = tokio::join!(pipeline.handle(&add), async {
        while !world
            .log
            .lock()
            .expect("no task panicked")
            .contains(&"add one".to_owned())
        {
            tokio::task::yield_now().await;
        }
        pipeline.handle(&del).await
    });
    assert!(matches!(added, Err(Error::Superseded)));
    deleted.expect("the DEL succeeds");
}

#[tokio::test(start_paused = true)]
async fn del_cancels_a_running_add_which_is_undone() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("hang one");
    del_overtakes_add(&world).await;
    let log = world.log();
    assert_eq!(log[log.len() - 3..], ["del one", "del default", "forget"]);
    assert!(world.recorded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn del_lets_running_delegate_finish() {
    let world = World::new();
    world.pod("a", "one,two");
    world.fail("slow one");
    del_overtakes_add(&world).await;
    let log = world.log();
    let since = log.iter().position(|what| what == "add one").unwrap();
    let expected = [
        "add one",
        "ended one",
        "record-result one",
        "del one",
        "del default",
        "forget",
    ];
    assert_eq!(log[since..], expected);
}

#[tokio::test(start_paused = true)]
async fn failed_undo_is_retried_until_it_succeeds() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("del one");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    let undo = world.undos.lock().unwrap().get("cid-a").cloned().unwrap();
    assert!(undo.reason.contains("del one"), "{}", undo.reason);
    let dir = std::path::Path::new("/var/lib/cni/multus");
    tokio::select! {
        () = pipeline.finish_undos(dir) => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(20)) => {}
    }
    assert_eq!(
        world.undos.lock().unwrap()["cid-a"].retries,
        3,
        "the DEL, and retries after 5 and 15 seconds"
    );
    world.mend();
    tokio::select! {
        () = pipeline.finish_undos(dir) => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
    }
    assert!(world.recorded.lock().unwrap().is_empty());
    assert!(world.undos.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_result_that_stays_holds_no_pod() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("forget-result");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(world.undos.lock().unwrap().contains_key("cid-a"), "retried");
    world.mend();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(world.recorded.lock().unwrap().is_empty());
}

/// Attaches `net5` to pod `a`, which another daemon attached.
async fn plugged_only() -> (Arc<World>, Arc<Pipeline>) {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    let mut request = shim_api::Request::parse(&body("ADD", "a")).expect("a request");
    request.env.insert("CNI_IFNAME".into(), "net5".into());
    request.config = br#"{"cniVersion":"1.0.0","name":"hot","type":"t"}"#.to_vec();
    pipeline
        .hotplug(&request.to_json())
        .await
        .expect("it is plugged");
    world.log();
    (world, pipeline)
}

fn deletions(world: &World) -> Vec<String> {
    let mut log = world.log();
    log.retain(|done| done.starts_with("del "));
    log
}

#[tokio::test]
async fn a_plugged_pods_del_that_fails_undoes_the_rest() {
    let (world, pipeline) = plugged_only().await;
    world.fail("del hot");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    assert_eq!(deletions(&world), ["del hot", "del one", "del default"]);
    // A restart between.
    let pipeline = world.pipeline();
    world.mend();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    let log = deletions(&world);
    assert!(log.contains(&"del default".to_owned()), "{log:?}");
}

#[tokio::test]
async fn a_plugged_pods_recorded_del_undoes_the_rest() {
    let (world, pipeline) = plugged_only().await;
    let request = shim_api::Request::parse(&body("DEL", "a")).unwrap();
    let record = shim_api::deferred::Record::of(request).to_json();
    world.defer("cid-a", record);
    let dir = std::path::Path::new("/var/lib/cni/multus");
    pipeline.finish_deferred(dir, false).await;
    assert_eq!(deletions(&world), ["del hot", "del one", "del default"]);
}

#[tokio::test]
async fn gc_keeps_what_was_plugged_into_a_living_pod() {
    let (world, pipeline) = plugged_only().await;
    pipeline.handle(&gc_body(Some("cid-b"))).await.unwrap();
    let log = deletions(&world);
    assert!(log.is_empty(), "it lives: {log:?}");
    world.fail("netns gone");
    pipeline.handle(&gc_body(Some("cid-b"))).await.unwrap();
    assert_eq!(deletions(&world), ["del hot"]);
}
