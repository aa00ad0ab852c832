//! The rules of each verb, on fakes of every port.

mod support;

use cnidaria_core::pipeline::Error;
use daemon::response;
use support::{World, body, body_with};

/// The code and message that the runtime gets.
fn told(error: &Error) -> (u32, String) {
    let error = response::cni_error(error);
    (error.code, error.to_string())
}

#[tokio::test]
async fn add_records_first_and_writes_status_last() {
    let world = World::new();
    world.pod("a", "one,two");
    let result = world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result.interfaces[0].name, "eth0");
    assert_eq!(
        world.log(),
        [
            "pod a",
            "record",
            "add default",
            "record-result default",
            "add one",
            "record-result one",
            "add two",
            "record-result two",
            "status"
        ]
    );
    let status = world.statuses.lock().unwrap().pop().unwrap();
    for name in [
        r#""interface":"net1""#,
        r#""interface":"net2""#,
        r#""default/one""#,
    ] {
        assert!(status.contains(name), "{status}");
    }
}

#[tokio::test]
async fn failed_add_is_undone_in_reverse_order() {
    let world = World::new();
    world.pod("a", "one,two");
    world.fail("add two");
    let error = world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    assert_eq!(
        told(&error),
        (123, r#"network "default/two": add two told to fail"#.into())
    );
    let log = world.log();
    assert_eq!(
        log[log.len() - 4..],
        ["del two", "del one", "del default", "forget"]
    );
    assert!(world.recorded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn delegate_that_did_not_run_is_not_undone() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("add one");
    world.fail("not executed");
    world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    assert!(!world.log().contains(&"del one".to_owned()));
}

#[tokio::test]
async fn failed_undo_stays_in_the_ledger() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("status");
    world.fail("del one");
    let error = world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    let (code, message) = told(&error);
    assert_eq!(code, 11);
    assert!(
        message.contains("could not be undone") && message.contains("del one"),
        "{message}"
    );
    assert!(world.recorded.lock().unwrap().contains_key("cid-a"));
    assert!(
        world.log().contains(&"del default".to_owned()),
        "the others are undone all the same"
    );
    world.mend();
    world.pipeline().handle(&body("DEL", "a")).await.unwrap();
    assert!(world.recorded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn early_denial_leaves_no_trace() {
    for denied in ["deny select", "deny before-add two", "deny settle"] {
        let world = World::new();
        world.pod("a", "one,two");
        world.fail(denied);
        let error = world
            .pipeline()
            .handle(&body("ADD", "a"))
            .await
            .unwrap_err();
        let (code, message) = told(&error);
        assert_eq!(code, 150);
        assert!(message.contains(r#"policy "p" denied"#), "{message}");
        assert_eq!(world.log(), ["pod a"], "{denied}");
    }
}

#[tokio::test]
async fn a_denial_after_a_delegate_rolls_back() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("deny after-add one");
    world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    let log = world.log();
    assert_eq!(log[log.len() - 3..], ["del one", "del default", "forget"]);
}

#[tokio::test]
async fn a_second_add_fails_and_harms_nothing() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.log();
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(matches!(error, Error::Attached(_)));
    assert_eq!(world.log(), Vec::<String>::new());
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
}

#[tokio::test]
async fn of_two_adds_at_once_one_wins() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    let (add, again) = (body("ADD", "a"), body("ADD", "a"));
    let (first, second) = tokio::join!(pipeline.handle(&add), pipeline.handle(&again));
    assert!(first.is_ok() != second.is_ok());
    assert_eq!(
        world
            .log()
            .iter()
            .filter(|what| *what == "add default")
            .count(),
        1
    );
}

#[tokio::test]
async fn missing_network_raises_a_pod_event() {
    let world = World::new();
    world.pod("a", "nope");
    let error = world.pipeline().handle(&body("ADD", "a")).await;
    assert_eq!(told(&error.unwrap_err()).0, 7);
    assert_eq!(
        world.log(),
        [
            "pod a",
            "event NoNetworkFound: cannot find a network-attachment-definition (nope) in namespace (default): \
             networkattachmentdefinition.k8s.cni.cncf.io \"nope\" not found"
        ]
    );
}

#[tokio::test]
async fn check_stops_at_the_first_error() {
    let world = World::new();
    world.pod("a", "one,two");
    let pipeline = world.pipeline();
    let error = pipeline.handle(&body("CHECK", "a")).await.unwrap_err();
    assert_eq!(told(&error).0, 3);
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    world.log();
    world.fail("check one");
    assert_eq!(
        told(&pipeline.handle(&body("CHECK", "a")).await.unwrap_err()).0,
        123
    );
    assert_eq!(world.log(), ["check default", "check one"]);
}

#[tokio::test]
async fn missing_uid_is_taken_from_the_pod() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    pipeline
        .handle(&body_with("ADD", "a", "K8S_POD_INFRA_CONTAINER_ID=i"))
        .await
        .unwrap();
    let recorded = world.recorded.lock().unwrap().remove("cid-a").unwrap();
    assert_eq!(recorded[0].pod.uid, "uid-a");
    assert_eq!(
        recorded[1].cni_args.to_string(),
        "IgnoreUnknown=true;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=i;K8S_POD_UID=uid-a"
    );
}

#[tokio::test]
async fn uid_mismatch_fails_the_add() {
    let world = World::new();
    world.pod("a", "one");
    let error = world
        .pipeline()
        .handle(&body_with("ADD", "a", "K8S_POD_UID=older"))
        .await
        .unwrap_err();
    let (code, message) = told(&error);
    assert_eq!(code, 11);
    assert!(
        message.contains("uid-a") && message.contains("older"),
        "{message}"
    );
}

#[tokio::test]
async fn missing_pod_fails_the_add() {
    let world = World::new();
    let error = world
        .pipeline()
        .handle(&body("ADD", "ghost"))
        .await
        .unwrap_err();
    assert_eq!(told(&error).0, 11);
}

#[tokio::test]
async fn bad_annotation_error_names_pod_and_element() {
    for (networks, expected) in [
        ("one,nope", "element 2"),
        ("a/b/c", "element 1"),
        (r#"[{"name":"one","mac":"zz"}]"#, "zz"),
        ("one@eth0", "both want interface eth0"),
    ] {
        let world = World::new();
        world.pod("a", networks);
        let error = world
            .pipeline()
            .handle(&body("ADD", "a"))
            .await
            .unwrap_err();
        let (code, message) = told(&error);
        assert_eq!(code, 7, "{networks}: {message}");
        assert!(
            message.contains("default/a") && message.contains(expected),
            "{networks}: {message}"
        );
        let log = world.log();
        let beside_events: Vec<_> = log.iter().filter(|l| !l.starts_with("event")).collect();
        assert_eq!(beside_events, ["pod a"]);
    }
}

#[tokio::test]
async fn a_name_too_long_for_its_result_is_refused() {
    // `<name>-cid-a-net1` has at most 255 bytes.
    for (length, refused) in [(244, false), (245, true)] {
        let world = World::new();
        let name = "n".repeat(length);
        let conf = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"t"}}"#);
        world
            .nads
            .lock()
            .unwrap()
            .insert("default/one".into(), conf);
        world.pod("a", "one");
        let answer = world.pipeline().handle(&body("ADD", "a")).await;
        assert_eq!(answer.is_err(), refused, "{length}");
        if let Err(error) = answer {
            assert_eq!(told(&error).0, 7);
            assert_eq!(world.log(), ["pod a"]);
        }
    }
}

#[tokio::test]
async fn unrecorded_plan_is_not_executed() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("record");
    let error = world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    assert_eq!(told(&error).0, 5);
    assert_eq!(world.log(), ["pod a", "record"]);
}

#[tokio::test]
async fn existing_interfaces_are_left_alone() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("exists eth0");
    let error = world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    let (code, message) = told(&error);
    assert_eq!(code, 7);
    assert!(
        message.contains("eth0 of network \"default\" exists already"),
        "{message}"
    );
    assert_eq!(world.log(), ["pod a"]);
}

#[tokio::test]
async fn an_unrecorded_interface_goes_with_its_del() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    // Records and results of the running container are lost, and its runtime repeats the ADD.
    world.fail("exists eth0");
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    world.log();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log(), ["pod a", "del one", "del default"]);
}

#[tokio::test]
async fn default_route_moves_to_the_claiming_network() {
    let world = World::new();
    world.pod(
        "a",
        r#"[{"name":"one","default-route":["10.0.0.254"]},{"name":"two"}]"#,
    );
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    let log = world.log();
    let at = |what: &str| log.iter().position(|done| done == what).unwrap();
    assert_eq!(
        at("default route 10.0.0.254 on net1"),
        at("record-result one") + 1
    );
    world.pod("b", r#"[{"name":"one","default-route":["10.0.0.1"]},{"name":"two","default-route":["10.0.0.2"]}]"#);
    let error = pipeline.handle(&body("ADD", "b")).await.unwrap_err();
    assert_eq!(told(&error).0, 7);
    assert_eq!(world.log(), ["pod b"]);
}

#[tokio::test]
async fn a_denial_at_the_end_rolls_back() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("deny finalize");
    world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    assert_eq!(world.log().last().unwrap(), "forget");
}

#[tokio::test]
async fn status_asks_policies_and_the_default_network() {
    let world = World::new();
    let pipeline = world.pipeline();
    pipeline.handle(&body("STATUS", "a")).await.unwrap();
    assert_eq!(world.log(), ["status default"]);
    world.fail("status default");
    assert_eq!(
        told(&pipeline.handle(&body("STATUS", "a")).await.unwrap_err()).0,
        123
    );
    world.fail("deny status");
    let (code, message) = told(&pipeline.handle(&body("STATUS", "a")).await.unwrap_err());
    assert_eq!(code, 50);
    assert!(message.contains("told to deny"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_add_that_takes_too_long_is_undone() {
    let world = World::new();
    world.pod("a", "one");
    world.fail("hang one");
    let error = world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Deadline(_)));
    assert_eq!(told(&error).0, 11);
    assert_eq!(world.log().last().unwrap(), "forget");
}

#[tokio::test]
async fn draining_daemon_answers_try_again_later() {
    let world = World::new();
    let pipeline = world.pipeline();
    pipeline.drain();
    assert_eq!(
        told(&pipeline.handle(&body("ADD", "a")).await.unwrap_err()).0,
        11
    );
}
