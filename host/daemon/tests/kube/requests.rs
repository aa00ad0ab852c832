//! Whole requests, with the real API adapter and fakes of everything else: how many API calls they
//! make, and what a pod keeps if the server is down or refuses.

use std::sync::Arc;
use std::time::Duration;

use cni_types::json::RawObject;
use cnidaria_core::conf::timeouts::Timeouts;
use cnidaria_core::domain::pod::NETWORKS_ANNOTATION;
use cnidaria_core::pipeline::{Error, Pipeline, Ports};
use cnidaria_core::ports::{Delegates, DeviceInfo, Devices, Ledger, PodNetwork};
use cnidaria_kube::Kube;
use daemon::adapters::node_files::ConfFiles;
use daemon::response;
use fake_api::Fault;
use serde_json::json;

use crate::rig::{self, LONG, NODE, Rig, until, until_ready};
use crate::support::{FakePolicies, World, body_with, gc_body};

const PATCH: &str = "patch pods/status";

pub(crate) fn pipeline(world: &Arc<World>, kube: Kube) -> Arc<Pipeline> {
    let ports = Ports {
        cluster: Arc::new(kube),
        delegates: Arc::clone(world) as Arc<dyn Delegates>,
        ledger: Arc::clone(world) as Arc<dyn Ledger>,
        policies: Arc::new(FakePolicies(Arc::clone(world))),
        pod_network: Arc::clone(world) as Arc<dyn PodNetwork>,
        devices: Arc::clone(world) as Arc<dyn Devices>,
        device_info: Arc::clone(world) as Arc<dyn DeviceInfo>,
        node_files: Arc::new(ConfFiles::default()),
    };
    Arc::new(Pipeline::new(ports, Timeouts::default(), RawObject::new()))
}

/// Creates a pod with networks, and returns a function that makes request bodies for it.
fn pod(rig: &Rig, name: &str, networks: usize) -> impl Fn(&str) -> Vec<u8> + use<> {
    let names: Vec<String> = (0..networks).map(|number| format!("x{number}")).collect();
    for name in &names {
        let mut nad = rig::nad(name);
        nad["spec"]["config"] = json!(format!(
            r#"{{"cniVersion":"1.0.0","name":"{name}","type":"t"}}"#
        ));
        rig.api.apply(nad);
    }
    let mut pod = rig::pod(name, NODE);
    pod["metadata"]["annotations"] = json!({NETWORKS_ANNOTATION: names.join(",")});
    let uid = rig::reference(&rig.api.apply(pod)).uid;
    let name = name.to_owned();
    move |command| body_with(command, &name, &format!("K8S_POD_UID={uid}"))
}

fn code(error: &Error) -> u32 {
    response::cni_error(error).code
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_add_is_one_patch_and_del_no_request() {
    let rig = Rig::new().await;
    let world = World::new();
    let (one, four) = (pod(&rig, "one", 1), pod(&rig, "four", 4));
    let pipeline = pipeline(&world, rig.warm().await);
    for body in [one, four] {
        pipeline.handle(&body("ADD")).await.unwrap();
        assert_eq!(rig.acts(), [PATCH]);
        pipeline.handle(&body("CHECK")).await.unwrap();
        pipeline.handle(&body("DEL")).await.unwrap();
        assert_eq!(rig.acts(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_server_fails_add_and_delays_no_del() {
    let rig = Rig::new().await;
    let world = World::new();
    let (there, new) = (pod(&rig, "there", 1), pod(&rig, "new", 2));
    let settings = cnidaria_kube::Settings {
        write_patience: Duration::from_millis(300),
        ..rig.settings()
    };
    let kube = Kube::start(settings);
    until_ready(&kube).await;
    let pipeline = pipeline(&world, kube);
    pipeline.handle(&there("ADD")).await.unwrap();
    // Far beyond any timeout: a request that waits for the server outlasts the test.
    rig.api.set_latency(20 * LONG);
    let requests = async {
        let error = pipeline.handle(&new("ADD")).await.unwrap_err();
        assert_eq!(code(&error), 11, "{error:?}");
        assert_eq!(world.recorded.lock().unwrap().len(), 1, "it is undone");
        pipeline.handle(&there("CHECK")).await.unwrap();
        pipeline.handle(&there("DEL")).await.unwrap();
        pipeline.handle(&gc_body(None)).await.unwrap();
        assert!(world.recorded.lock().unwrap().is_empty());
    };
    tokio::time::timeout(LONG, requests).await.unwrap();
    rig.api.set_latency(Duration::ZERO);
    pipeline.handle(&new("ADD")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_whose_status_is_refused_is_undone() {
    for (answer, expected) in [(404, 11), (403, 999), (422, 999)] {
        let rig = Rig::new().await;
        let world = World::new();
        let body = pod(&rig, "a", 2);
        let pipeline = pipeline(&world, rig.warm().await);
        rig.api.inject([Fault::answer(PATCH, answer)]);
        let error = pipeline.handle(&body("ADD")).await.unwrap_err();
        if expected == 11 {
            assert_eq!(code(&error), 11, "{error}");
        }
        let log = world.log();
        let undone = ["del x1", "del x0", "del default", "forget"];
        assert!(log.ends_with(&undone.map(str::to_owned)), "{log:?}");
        assert_eq!(rig.acts(), [PATCH]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn add_is_undone_if_its_pod_is_replaced() {
    let rig = Rig::new().await;
    let world = World::new();
    let body = pod(&rig, "a", 1);
    world.slow("x0", "the pod was replaced");
    let pipeline = pipeline(&world, rig.warm().await);
    let replace = async {
        until(|| {
            world
                .log
                .lock()
                .unwrap()
                .iter()
                .any(|done| done == "add x0")
        })
        .await;
        rig.api.delete("Pod", "default", "a");
        rig.pod("a");
        let replaced = "the pod was replaced".to_owned();
        world.log.lock().unwrap().push(replaced);
    };
    let request = body("ADD");
    let (answer, ()) = tokio::join!(pipeline.handle(&request), replace);
    answer.unwrap_err();
    let log = world.log();
    assert_eq!(log.last().unwrap(), "forget", "{log:?}");
    let pod = rig.api.get("Pod", "default", "a").unwrap();
    assert!(pod["metadata"]["annotations"].is_null(), "{pod}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_gc_and_del_work_without_the_server() {
    let rig = Rig::new().await;
    let world = World::new();
    let (old, new) = (pod(&rig, "old", 1), pod(&rig, "new", 1));
    let before = pipeline(&world, rig.warm().await);
    before.handle(&old("ADD")).await.unwrap();
    drop(before);
    world.log();
    rig.api.go_down();
    let after = pipeline(&world, rig.start());
    let add = after.handle(&new("ADD")).await.unwrap_err();
    assert_eq!(code(&add), 11, "{add}");
    let status = after.handle(&old("STATUS")).await.unwrap_err();
    assert_eq!(code(&status), 50, "{status}");
    assert_eq!(world.log(), Vec::<String>::new());
    after.handle(&old("CHECK")).await.unwrap();
    after.handle(&gc_body(Some("cid-old"))).await.unwrap();
    after.handle(&old("DEL")).await.unwrap();
    assert_eq!(world.log().last().unwrap(), "forget");
    rig.api.come_up();
    // It recovers by itself: there are no requests but STATUS until that succeeds.
    let recovered = async {
        while after.handle(&old("STATUS")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, recovered).await.unwrap();
    after.handle(&new("ADD")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_adds_wait_only_for_the_server() {
    let rig = Rig::new().await;
    let world = World::new();
    let bodies: Vec<Vec<u8>> = (0..200)
        .map(|number| pod(&rig, &format!("p{number}"), 1)("ADD"))
        .collect();
    let pipeline = Arc::new(pipeline(&world, rig.warm().await));
    // The server answers none before all have been sent.
    rig.api.gather(PATCH, 200);
    let mut adds = tokio::task::JoinSet::new();
    for body in bodies {
        let pipeline = Arc::clone(&pipeline);
        adds.spawn(async move { pipeline.handle(&body).await.map(drop) });
    }
    for added in adds.join_all().await {
        added.unwrap();
    }
    assert_eq!(rig.acts(), vec![PATCH; 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_failure_raises_one_event() {
    let rig = Rig::new().await;
    let world = World::new();
    let body = pod(&rig, "a", 1);
    let kube = rig.start();
    until_ready(&kube).await;
    let pipeline = pipeline(&world, kube);
    world.fail("add x0");
    for _ in 0..3 {
        pipeline.handle(&body("ADD")).await.unwrap_err();
    }
    let failures = || {
        let events = rig.api.all("Event").into_iter();
        let failures = events.filter(|event| event["reason"] == "DelegateFailed");
        failures.collect::<Vec<_>>()
    };
    until(|| failures().iter().any(|event| event["count"] == 3)).await;
    let failures = failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0]["type"], "Warning");
    let message = failures[0]["message"].as_str().unwrap();
    assert!(
        message.contains("default/x0") && message.contains("told to fail"),
        "{message}"
    );
}
