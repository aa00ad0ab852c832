//! `POST /delegate` on fakes of every port: attaches or detaches one network of a running pod.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use cnidaria_core::pipeline::{Error, Pipeline};
use daemon::response;
use shim_api::deferred::Record;
use support::{DIR, World, body};

/// A hot-plug controller's request for `net5` of a pod.
fn plug(command: &str, pod: &str, network: &str) -> Vec<u8> {
    let env = [
        ("CNI_COMMAND", command.to_owned()),
        ("CNI_CONTAINERID", format!("cid-{pod}")),
        ("CNI_NETNS", format!("/run/netns/{pod}")),
        ("CNI_IFNAME", "net5".to_owned()),
        (
            "CNI_ARGS",
            format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID=uid-{pod}"),
        ),
    ];
    shim_api::Request {
        env: env.map(|(k, v)| (k.to_owned(), v)).into(),
        config: format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"t"}}"#).into_bytes(),
        interface_attributes: None,
    }
    .to_json()
}

async fn fails(pipeline: &Arc<Pipeline>, body: &[u8]) -> (u32, String) {
    let error: Error = pipeline.hotplug(body).await.unwrap_err();
    let error = response::cni_error(&error);
    (error.code, error.to_string())
}

/// The recorded networks of a pod.
fn recorded(world: &World, pod: &str) -> Vec<String> {
    let recorded = world.recorded.lock().unwrap();
    let entries = recorded.get(&format!("cid-{pod}"));
    let networks = entries.into_iter().flatten().map(|e| e.network.clone());
    networks.collect()
}

#[tokio::test]
async fn a_recorded_del_runs_before_a_hot_plug() {
    for verb in ["ADD", "CHECK", "DEL"] {
        let world = World::new();
        world.pod("a", "one");
        let pipeline = world.pipeline();
        pipeline.handle(&body("ADD", "a")).await.unwrap();
        let request = shim_api::Request::parse(&body("DEL", "a")).unwrap();
        world.defer("cid-a", Record::of(request).to_json());
        world.log();
        pipeline.hotplug(&plug(verb, "a", "hot")).await.unwrap();
        assert_eq!(world.log()[..3], ["del one", "del default", "forget"]);
        assert!(world.deferred.lock().unwrap().is_empty(), "{verb}");
    }
}

#[tokio::test]
async fn pod_del_undoes_hotplugged_network() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.log();
    let result = pipeline
        .hotplug(&plug("ADD", "a", "hot"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result.interfaces[0].name, "net5");
    assert_eq!(
        world.log(),
        ["pod a", "record", "add hot", "record-result hot", "record"]
    );
    assert_eq!(recorded(&world, "a"), ["default", "default/one", "hot"]);
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log(), ["del hot", "del one", "del default", "forget"]);
}

#[tokio::test]
async fn unplug_removes_only_its_own_entry() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    pipeline.hotplug(&plug("CHECK", "a", "hot")).await.unwrap();
    world.log();
    pipeline.hotplug(&plug("DEL", "a", "hot")).await.unwrap();
    assert_eq!(world.log(), ["del hot", "record"]);
    assert_eq!(recorded(&world, "a"), ["default", "default/one"]);
    pipeline.hotplug(&plug("DEL", "a", "hot")).await.unwrap();
    let log = world.log();
    assert!(log.is_empty(), "it is known to be gone: {log:?}");
}

#[tokio::test]
async fn a_late_unplug_spares_another_network() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    pipeline.hotplug(&plug("ADD", "a", "new")).await.unwrap();
    world.log();
    pipeline.hotplug(&plug("DEL", "a", "old")).await.unwrap();
    let (code, message) = fails(&pipeline, &plug("CHECK", "a", "old")).await;
    assert_eq!(code, 3, "{message}");
    assert!(world.log().iter().all(|line| !line.starts_with("del")));
    assert_eq!(recorded(&world, "a"), ["default", "default/one", "new"]);
    // The plan is lost, and the results are there.
    let plan = world.recorded.lock().unwrap().remove("cid-a").unwrap();
    world
        .results
        .lock()
        .unwrap()
        .insert("cid-a".to_owned(), plan);
    pipeline.hotplug(&plug("DEL", "a", "old")).await.unwrap();
    assert!(world.log().iter().all(|line| !line.starts_with("del")));
    pipeline.hotplug(&plug("DEL", "a", "new")).await.unwrap();
    assert!(world.log().contains(&"del new".to_owned()));
}

#[tokio::test]
async fn unrecorded_pod_can_be_plugged() {
    let world = World::new();
    world.pod("a", "");
    let pipeline = world.pipeline();
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    pipeline.hotplug(&plug("DEL", "a", "hot")).await.unwrap();
    assert!(recorded(&world, "a").is_empty());
    assert_eq!(world.log().last().unwrap(), "forget");
}

#[tokio::test]
async fn failed_plug_undoes_only_itself() {
    for failing in [
        "add hot",
        "record-result hot",
        "deny after-add hot",
        "deny validate-result",
    ] {
        let world = World::new();
        world.pod("a", "one");
        let pipeline = world.pipeline();
        pipeline.handle(&body("ADD", "a")).await.unwrap();
        world.log();
        world.fail(failing);
        fails(&pipeline, &plug("ADD", "a", "hot")).await;
        let log = world.log();
        assert_eq!(log[log.len() - 2..], ["del hot", "record"], "{failing}");
        assert_eq!(
            recorded(&world, "a"),
            ["default", "default/one"],
            "{failing}"
        );
    }
}

#[tokio::test]
async fn failed_undo_of_plug_stays_recorded() {
    let world = World::new();
    world.pod("a", "");
    world.fail("add hot");
    world.fail("del hot");
    world.fail("interrupted");
    let pipeline = world.pipeline();
    let (code, message) = fails(&pipeline, &plug("ADD", "a", "hot")).await;
    assert_eq!(code, 123);
    assert!(message.contains("could not be undone"), "{message}");
    assert_eq!(recorded(&world, "a"), ["hot"]);
    world.mend();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(recorded(&world, "a").is_empty());
}

#[tokio::test]
async fn plug_of_existing_interface_is_rejected() {
    let world = World::new();
    world.pod("a", "");
    let pipeline = world.pipeline();
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    world.log();
    let (_, message) = fails(&pipeline, &plug("ADD", "a", "other")).await;
    assert!(message.contains("net5"), "{message}");
    assert_eq!(world.log(), ["pod a"]);
    assert_eq!(recorded(&world, "a"), ["hot"]);
}

#[tokio::test]
async fn denied_and_malformed_plugs_leave_no_trace() {
    let world = World::new();
    world.pod("a", "");
    world.fail("deny before-add hot");
    let pipeline = world.pipeline();
    assert_eq!(fails(&pipeline, &plug("ADD", "a", "hot")).await.0, 150);
    assert_eq!(fails(&pipeline, &plug("GC", "a", "hot")).await.0, 4);
    assert_eq!(fails(&pipeline, b"{").await.0, 6);
    assert_eq!(world.log(), ["pod a"]);
}

#[tokio::test]
async fn network_status_is_its_delegates_status() {
    let world = World::new();
    let pipeline = world.pipeline();
    pipeline.hotplug(&plug("STATUS", "a", "hot")).await.unwrap();
    world.fail("status hot");
    assert_eq!(fails(&pipeline, &plug("STATUS", "a", "hot")).await.0, 123);
    assert_eq!(world.log(), ["status hot", "status hot"]);
}

#[tokio::test]
async fn plug_passes_the_device_info_path() {
    let world = World::new();
    world.pod("a", "");
    let pipeline = world.pipeline();
    let conf = r#"{"cniVersion":"1.0.0","name":"hot","type":"t","capabilities":{"CNIDeviceInfoFile":true}}"#;
    let mut request = shim_api::Request::parse(&plug("ADD", "a", "hot")).unwrap();
    request.config = conf.as_bytes().to_vec();
    pipeline.hotplug(&request.to_json()).await.unwrap();
    let recorded = world.recorded.lock().unwrap();
    let file = recorded["cid-a"][0].device_info_file();
    assert_eq!(file.as_deref(), Some("/devinfo/hot-cid-a_net5"));
}

/// The same with `interfaceAttributes`, as a controller writes them.
fn plug_with(attributes: &str) -> Vec<u8> {
    let body = String::from_utf8(plug("ADD", "a", "hot")).unwrap();
    let rest = body.strip_suffix('}').unwrap();
    format!(r#"{rest},"interfaceAttributes":{attributes}}}"#).into_bytes()
}

#[tokio::test]
async fn attributes_without_effect_fail_no_hot_plug() {
    for (attributes, events) in [
        (r#"{"ip":["10.0.0.9/24"],"Mac":"02:00:00:00:00:09"}"#, 0),
        (r#"{"IPs":["10.0.0.9/24"]}"#, 0),
        (r#"{"IPS":["10.0.0.9/24","fd00::9/64"]}"#, 1),
    ] {
        let world = World::new();
        world.pod("a", "");
        let pipeline = world.pipeline();
        pipeline.hotplug(&plug_with(attributes)).await.unwrap();
        let log = world.log();
        let warned = log.iter().filter(|line| line.contains("RequestIgnored"));
        assert_eq!(warned.count(), events, "{attributes}: {log:?}");
    }
}

#[tokio::test]
async fn a_name_too_long_for_its_result_is_refused() {
    for verb in ["ADD", "CHECK", "DEL"] {
        let world = World::new();
        world.pod("a", "");
        let body = plug(verb, "a", &"n".repeat(245));
        let (code, message) = fails(&world.pipeline(), &body).await;
        assert_eq!(code, 7, "{verb}: {message}");
        assert!(message.contains("too long"), "{verb}: {message}");
    }
}

#[tokio::test]
async fn an_unknown_hot_plug_is_not_unplugged() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.log();
    pipeline.hotplug(&plug("DEL", "a", "hot")).await.unwrap();
    let log = world.log();
    assert!(log.iter().all(|done| !done.starts_with("del ")), "{log:?}");
}

/// A pod with a hot-plug whose delegate died on ADD and on DEL.
async fn with_leftover(world: &Arc<World>) -> Arc<Pipeline> {
    world.pod("a", "one");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    for fault in ["add hot", "del hot", "interrupted"] {
        world.fail(fault);
    }
    fails(&pipeline, &plug("ADD", "a", "hot")).await;
    assert_eq!(recorded(world, "a"), ["default", "default/one", "hot"]);
    world.log();
    pipeline
}

#[tokio::test]
async fn a_leftover_fails_no_check_of_the_pod() {
    let world = World::new();
    let pipeline = with_leftover(&world).await;
    world.fail("check hot");
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
    assert_eq!(world.log(), ["check default", "check one"]);
    world.fail("check one");
    pipeline.handle(&body("CHECK", "a")).await.unwrap_err();
}

#[tokio::test]
async fn a_failed_unplug_fails_no_check() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    world.fail("del hot");
    fails(&pipeline, &plug("DEL", "a", "hot")).await;
    world.fail("check hot");
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_is_to_be_undone_fails_its_check() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    for fault in ["add one", "del one", "interrupted"] {
        world.fail(fault);
    }
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    world.mend();
    let error = pipeline.handle(&body("CHECK", "a")).await.unwrap_err();
    assert!(matches!(error, Error::NotAttached(_)), "{error}");
}

#[tokio::test]
async fn a_leftover_is_undone_before_the_next_plug() {
    let world = World::new();
    let pipeline = with_leftover(&world).await;
    let (code, message) = fails(&pipeline, &plug("ADD", "a", "hot")).await;
    assert_eq!(code, 123, "{message}");
    assert!(message.contains("del hot told to fail"), "{message}");
    world.mend();
    world.log();
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    let done = [
        "del hot",
        "record",
        "record",
        "add hot",
        "record-result hot",
        "record",
    ];
    let mut log = world.log();
    log.retain(|line| done.contains(&line.as_str()));
    assert_eq!(log, done);
    assert_eq!(recorded(&world, "a"), ["default", "default/one", "hot"]);
    assert!(pipeline.undos(std::path::Path::new(DIR)).is_empty());
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
}

#[tokio::test]
async fn a_killed_daemons_hot_plug_makes_way() {
    let (world, pipeline) = World::with_pod("a", "").await;
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    let forget_result = |world: &World| {
        let mut recorded = world.recorded.lock().unwrap();
        recorded.get_mut("cid-a").unwrap()[1].result = None;
    };
    forget_result(&world);
    world.fail("check hot");
    let next = world.pipeline();
    next.handle(&body("CHECK", "a")).await.unwrap();
    world.fail("exists net5");
    let (_, message) = fails(&next, &plug("ADD", "a", "hot")).await;
    assert!(message.contains("exists already"), "{message}");
    world.mend();
    next.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
}

/// A pod in whose hot-plug the daemon was killed, and the next daemon.
async fn killed_while_plugging(world: &Arc<World>) -> Arc<Pipeline> {
    world.pod("a", "");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    world.fail("hang hot");
    let plugging = plug("ADD", "a", "hot");
    tokio::select! {
        _ = pipeline.hotplug(&plugging) => unreachable!("it hangs"),
        () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
    }
    assert_eq!(recorded(world, "a"), ["default", "hot"]);
    world.mend();
    world.log();
    world.pipeline()
}

#[tokio::test]
async fn a_broken_off_plug_makes_way_for_the_next() {
    let world = World::new();
    let next = killed_while_plugging(&world).await;
    world.fail("exists net5");
    let (code, message) = fails(&next, &plug("CHECK", "a", "hot")).await;
    assert_eq!(code, 3, "{message}");
    // The fake finds the interface also after it was undone.
    fails(&next, &plug("ADD", "a", "hot")).await;
    assert!(world.log().contains(&"del hot".to_owned()));
    world.mend();
    next.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    next.hotplug(&plug("CHECK", "a", "hot")).await.unwrap();
    assert_eq!(recorded(&world, "a"), ["default", "hot"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_off_plug_is_undone_at_the_start() {
    let world = World::new();
    let next = killed_while_plugging(&world).await;
    next.begin(std::path::Path::new(DIR)).await;
    tokio::select! {
        () = next.finish_undos(std::path::Path::new(DIR)) => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
    }
    assert_eq!(recorded(&world, "a"), ["default"]);
    next.handle(&body("CHECK", "a")).await.unwrap();
}

#[tokio::test]
async fn a_plug_whose_result_is_lost_is_left_alone() {
    let world = World::new();
    world.pod("a", "");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    world.recorded.lock().unwrap().get_mut("cid-a").unwrap()[1].result = None;
    world.fail("exists net5");
    world.log();
    fails(&world.pipeline(), &plug("ADD", "a", "hot")).await;
    assert!(!world.log().contains(&"del hot".to_owned()));
}

/// The same request with the namespace of pod `b`.
fn in_another_namespace(body: &[u8]) -> Vec<u8> {
    let mut request = shim_api::Request::parse(body).unwrap();
    let path = ("CNI_NETNS".to_owned(), "/run/netns/b".to_owned());
    request.env.extend([path]);
    request.to_json()
}

#[tokio::test]
async fn another_pods_namespace_is_refused() {
    let world = World::new();
    world.pod("a", "");
    world.pod("b", "");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    world.apart("/run/netns/b");
    pipeline.handle(&body("ADD", "b")).await.unwrap();
    world.log();
    for verb in ["ADD", "CHECK"] {
        let body = in_another_namespace(&plug(verb, "a", "other"));
        let (code, message) = fails(&pipeline, &body).await;
        assert_eq!(code, 7, "{message}");
        let refused = "/run/netns/b is not the network namespace of container cid-a";
        assert!(message.contains(refused), "{message}");
    }
    assert!(world.log().is_empty(), "nothing was begun");
    // If the container is not recorded, other containers' records tell whose namespace it is.
    world.pod("c", "");
    let body = in_another_namespace(&plug("ADD", "c", "other"));
    let (code, message) = fails(&pipeline, &body).await;
    assert_eq!(code, 7, "{message}");
    assert!(message.contains("that of container cid-b"), "{message}");
}

#[tokio::test]
async fn an_unplug_enters_the_pods_own_namespace() {
    let (world, pipeline) = World::with_pod("a", "").await;
    pipeline.hotplug(&plug("ADD", "a", "hot")).await.unwrap();
    world.apart("/run/netns/b");
    world.log();
    let body = in_another_namespace(&plug("DEL", "a", "hot"));
    pipeline.hotplug(&body).await.unwrap();
    assert_eq!(world.log(), ["del hot", "record"]);
    let entered = world.entered.lock().unwrap().clone();
    assert_eq!(entered.as_deref(), Some("/run/netns/a"));
}

#[tokio::test]
async fn an_unknown_pod_that_was_plugged_is_deleted() {
    // Plugged; plugged and unplugged; a plug that failed.
    for case in ["plug", "unplug", "fail"] {
        let world = World::new();
        world.pod("a", "one");
        let pipeline = world.pipeline();
        if case == "fail" {
            world.fail("add hot");
        }
        let plugged = pipeline.hotplug(&plug("ADD", "a", "hot")).await;
        assert_eq!(plugged.is_err(), case == "fail", "{case}");
        if case == "unplug" {
            pipeline.hotplug(&plug("DEL", "a", "hot")).await.unwrap();
        }
        world.log();
        pipeline.handle(&body("DEL", "a")).await.unwrap();
        let log = world.log();
        for network in ["del one", "del default"] {
            assert!(log.contains(&network.to_owned()), "{case}: {log:?}");
        }
    }
}
