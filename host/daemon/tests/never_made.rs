//! Attachments whose ADD gave no result, and how they affect the pod's DEL, on fakes of every port.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cnidaria_core::pipeline::Error;
use support::{DIR, World, body, retry};

fn is_recorded(world: &World, container: &str) -> bool {
    let recorded = world.recorded.lock();
    recorded.is_ok_and(|recorded| recorded.contains_key(container))
}

#[tokio::test]
async fn a_refused_attachment_keeps_nothing() {
    let world = World::new();
    world.pod("a", "one,two");
    let pipeline = world.pipeline();
    world.fail("add two");
    world.fail("del two");
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(matches!(error, Error::Delegate(_)), "{error}");
    let mut log = world.log();
    let event = "event DeleteRefused: interface net2 was never attached";
    assert!(log.iter().any(|done| done.starts_with(event)), "{log:?}");
    log.retain(|done| !done.starts_with("event "));
    let undone = ["del two", "del one", "del default", "forget"];
    assert_eq!(log[log.len() - 4..], undone);
    assert!(!is_recorded(&world, "cid-a"));
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
}

#[tokio::test]
async fn attachments_before_the_refusal_are_kept() {
    let world = World::new();
    world.pod("a", "one,two");
    let pipeline = world.pipeline();
    for fault in ["add two", "del two", "del one"] {
        world.fail(fault);
    }
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(matches!(error, Error::NotUndone { .. }), "{error}");
    let left = world.recorded.lock().unwrap()["cid-a"].clone();
    let left: Vec<_> = left.iter().map(|entry| entry.network.as_str()).collect();
    assert_eq!(left, ["default/one"]);
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    let [undo] = &pipeline.undos(Path::new(DIR))[..] else {
        panic!("one sandbox is pending");
    };
    assert_eq!(undo.attachments.len(), 1);
    assert_eq!(undo.attachments[0].attempts, 2);
    assert!(undo.attachments[0].reason.contains("del one told to fail"));
}

#[tokio::test]
async fn an_interrupted_attachment_is_kept() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    for fault in ["add one", "del one", "interrupted"] {
        world.fail(fault);
    }
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    assert!(is_recorded(&world, "cid-a"));
}

#[tokio::test(start_paused = true)]
async fn a_del_succeeds_once_the_namespace_is_gone() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("del one");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    world.fail("netns gone");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(is_recorded(&world, "cid-a"), "it is tried again");
    world.fail.lock().unwrap().remove("del one");
    retry(&pipeline, 60).await;
    assert!(!is_recorded(&world, "cid-a"));
}

#[tokio::test]
async fn a_reused_id_cancels_what_was_left() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("del one");
    world.fail("netns gone");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    world.fail.lock().unwrap().remove("netns gone");
    *world.namespaces.lock().unwrap() += 1;
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    assert!(pipeline.undos(Path::new(DIR)).is_empty());
    let events = world.told.lock().unwrap().clone();
    assert!(
        world.recorded.lock().unwrap()["cid-a"].len() == 2,
        "{events:?}"
    );
}

#[tokio::test]
async fn after_a_reboot_the_id_can_be_added() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    let again = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(matches!(again, Error::Attached(_)), "{again}");
    *world.boot.lock().unwrap() = "another".to_owned();
    world.log();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    let log = world.log();
    let undone = [
        "without netns net1",
        "del one",
        "without netns eth0",
        "del default",
        "forget",
    ];
    assert_eq!(log[..5], undone, "the old path is not entered");
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_everything_is_given_back() {
    let world = World::new();
    let pipeline = world.pipeline();
    for number in 0..100 {
        let pod = format!("p{number}");
        world.pod(&pod, "");
        pipeline.handle(&body("ADD", &pod)).await.unwrap();
    }
    *world.boot.lock().unwrap() = "another".to_owned();
    world.pod("new", "");
    let next = world.pipeline();
    next.handle(&body("ADD", "new")).await.unwrap();
    retry(&next, 1).await;
    let recorded = world.recorded.lock().unwrap();
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["cid-new"]);
}

#[tokio::test]
async fn another_namespace_at_the_path_is_not_entered() {
    let world = World::new();
    world.pod("a", "");
    let pipeline = world.pipeline();
    for change in ["reused", "netns of the node"] {
        pipeline.handle(&body("ADD", "a")).await.unwrap();
        world.log();
        *world.namespaces.lock().unwrap() += 1;
        world.fail(change);
        pipeline.handle(&body("DEL", "a")).await.unwrap();
        assert_eq!(world.log()[..2], ["without netns eth0", "del default"]);
        world.mend();
    }
}

#[tokio::test]
async fn another_pods_namespace_is_not_entered() {
    let world = World::new();
    world.pod("a", "");
    world.pod("b", "");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    world.log();
    // The ledger does not know b, and the path in b's request leads to the namespace of a.
    let mut request = shim_api::Request::parse(&body("DEL", "b")).unwrap();
    let path = ("CNI_NETNS".to_owned(), "/run/netns/a".to_owned());
    request.env.extend([path]);
    pipeline.handle(&request.to_json()).await.unwrap();
    let log = world.log();
    assert_eq!(log[1..3], ["without netns eth0", "del default"], "{log:?}");
}

#[tokio::test]
async fn del_after_denied_add_runs_no_delegate() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    world.fail("deny before-add one");
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    world.mend();
    world.log();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    let log = world.log();
    assert!(log.iter().all(|done| !done.starts_with("del ")), "{log:?}");
}

#[tokio::test]
async fn a_refused_add_has_undone_results_of_its_id() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    let results = world.recorded.lock().unwrap().remove("cid-a").unwrap();
    let results = (String::from("cid-a"), results);
    world.results.lock().unwrap().extend([results]);
    world.fail("deny before-add one");
    world.log();
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert_eq!(world.log()[..2], ["del one", "del default"]);
}

#[tokio::test(start_paused = true)]
async fn hanging_networks_hold_up_no_answer() {
    let (world, pipeline) = World::with_pod("a", "one,two,three").await;
    world.log();
    for network in ["one", "two", "three"] {
        world.fail(&format!("hang del {network}"));
    }
    let error = pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    assert!(matches!(error, Error::Continues(_)), "{error}");
    assert!(
        world.log().contains(&"del default".to_owned()),
        "beside those"
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_hangs_holds_up_no_other() {
    let world = World::new();
    let pipeline = world.pipeline();
    for (pod, network) in [("a", "one"), ("b", "two")] {
        world.pod(pod, network);
        pipeline.handle(&body("ADD", pod)).await.unwrap();
        world.fail(&format!("del {network}"));
        pipeline.handle(&body("DEL", pod)).await.unwrap_err();
    }
    world.mend();
    world.fail("hang del one");
    retry(&pipeline, 60).await;
    assert!(!is_recorded(&world, "cid-b"));
    assert!(is_recorded(&world, "cid-a"));
}

#[tokio::test]
async fn an_operator_can_have_it_forgotten() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("del one");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    let container = cni_types::args::ContainerId::new("cid-a").unwrap();
    let dir = Path::new(DIR);
    let forgotten = pipeline.forget(dir, &container, None).await.unwrap();
    assert_eq!(forgotten.len(), 1);
    assert!(pipeline.undos(dir).is_empty());
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    let again = pipeline.forget(dir, &container, None).await;
    assert!(matches!(again, Err(Error::NotAttached(_))));
}

#[tokio::test(start_paused = true)]
async fn an_add_that_is_dropped_is_undone() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("hang one");
    let pipeline = world.pipeline();
    let adding = Arc::clone(&pipeline);
    let add = tokio::spawn(async move { adding.handle(&body("ADD", "a")).await });
    while !world.log.lock().unwrap().contains(&"add one".to_owned()) {
        tokio::task::yield_now().await;
    }
    add.abort();
    add.await.unwrap_err();
    world.mend();
    retry(&pipeline, 1).await;
    assert!(!is_recorded(&world, "cid-a"));
}

#[tokio::test]
async fn gc_leaves_alone_what_is_being_added() {
    let world = World::new();
    world.pod("a", "one");
    world.slow("one", "gc default");
    let pipeline = world.pipeline();
    let adding = Arc::clone(&pipeline);
    let add = tokio::spawn(async move { adding.handle(&body("ADD", "a")).await });
    while !world.log.lock().unwrap().contains(&"add one".to_owned()) {
        tokio::task::yield_now().await;
    }
    let gc = support::gc_body(Some("cid-other"));
    pipeline.handle(&gc).await.unwrap();
    add.await.unwrap().unwrap();
    let log = world.log();
    assert!(!log.iter().any(|done| done.starts_with("del")), "{log:?}");
    let valid = "valid cid-a/eth0 cid-a/net1 cid-other/eth0".to_owned();
    assert!(log.contains(&valid), "{log:?}");
}

#[tokio::test]
async fn gc_does_not_fail_for_what_was_never_made() {
    let world = World::new();
    world.pod("a", "one");
    world.pod("b", "two");
    let pipeline = world.pipeline();
    for fault in ["add one", "del one", "interrupted", "gc one"] {
        world.fail(fault);
    }
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(is_recorded(&world, "cid-a"));
    pipeline.handle(&body("ADD", "b")).await.unwrap();
    let gc = support::gc_body(Some("cid-b"));
    pipeline.handle(&gc).await.unwrap();
    assert!(world.log().contains(&"gc one".to_owned()));
    world.fail("gc two");
    let error = pipeline.handle(&gc).await.unwrap_err();
    assert!(error.to_string().contains("two"), "{error}");
}

#[tokio::test]
async fn a_lost_secondary_interface_is_deleted() {
    // The container's records are lost; what it has in its namespace is not.
    for (networks, interface) in [
        ("one", "net1"),
        ("one@x1", "x1"),
        ("missing@x1,one", "x1"),
        ("missing,one", "net2"),
    ] {
        let world = World::new();
        world.pod("a", networks);
        let pipeline = world.pipeline();
        world.fail(&format!("exists {interface}"));
        pipeline.handle(&body("ADD", "a")).await.unwrap_err();
        world.log();
        pipeline.handle(&body("DEL", "a")).await.unwrap();
        let log = world.log();
        assert!(log.contains(&"del one".to_owned()), "{networks}: {log:?}");
    }
}

#[tokio::test]
async fn output_beyond_the_limit_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = "cat >/dev/null\n[ $CNI_COMMAND != ADD ] || echo '{\"cniVersion\":\"1.0.0\"}'";
    for (name, script) in [("t", quiet), ("loud", "exec yes")] {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let world = World::new();
    world.pod("a", "one");
    let loud = r#"{"cniVersion":"1.0.0","name":"one","type":"loud"}"#.to_owned();
    let nad = ("default/one".to_owned(), loud);
    world.nads.lock().unwrap().extend([nad]);
    let pipeline = world.pipeline_executing(dir.path());
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(error.to_string().contains("printed more than"), "{error}");
    assert!(!is_recorded(&world, "cid-a"));
    pipeline.handle(&body("DEL", "a")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reused_id_announces_what_it_gives_up() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.fail("del one");
    world.fail("netns gone");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    world.fail.lock().unwrap().remove("netns gone");
    *world.namespaces.lock().unwrap() += 1;
    world.log();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    let log = world.log();
    let event = "event UndoGivenUp: interface net1 of network \"default/one\"";
    let given_up: Vec<_> = log
        .iter()
        .filter(|done| done.starts_with("event UndoGivenUp"))
        .collect();
    assert!(given_up[0].starts_with(event), "{given_up:?}");
    assert_eq!(given_up.len(), 1, "{given_up:?}");
    // Its plugin, once it is there, would release what the new attachment has.
    world.mend();
    retry(&pipeline, 3600).await;
    assert!(!world.log().contains(&"del one".to_owned()));
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
}
