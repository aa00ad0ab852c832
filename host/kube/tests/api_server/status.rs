//! Writing network-status: a single, safe PATCH, and the handling of refusals.

use std::time::{Duration, Instant};

use cnidaria_core::ports::{Cluster, ClusterError};
use cnidaria_kube::{Kube, Settings};
use fake_api::Fault;
use serde_json::json;

use crate::rig::{LONG, Rig, until_ready};

const PATCH: &str = "patch pods/status";
const GET: &str = "get pods";

#[tokio::test(flavor = "multi_thread")]
async fn status_patch_changes_one_annotation() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    let before = rig.api.get("Pod", "default", "a").unwrap();
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert_eq!(rig.acts(), [PATCH]);
    let mut after = rig.api.get("Pod", "default", "a").unwrap();
    let annotations = after["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("annotations");
    assert_eq!(
        annotations,
        Some(json!({"k8s.v1.cni.cncf.io/network-status": "[1]"}))
    );
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_took_the_name_is_not_written_to() {
    let rig = Rig::new().await;
    let old = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.delete("Pod", "default", "a");
    rig.pod("a");
    let error = kube.set_network_status(&old, "[1]").await.unwrap_err();
    assert!(matches!(error, ClusterError::NotWritten { .. }), "{error}");
    assert!(rig.api.get("Pod", "default", "a").unwrap()["metadata"]["annotations"].is_null());
    assert_eq!(rig.acts(), [PATCH, GET]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_judged_by_the_pods_uid() {
    // The pod's name puts "uid" into the error message.
    const NAME: &str = "druid-broker-0";
    let rig = Rig::new().await;
    let old = rig.pod(NAME);
    let kube = rig.warm().await;
    rig.api.inject([Fault::answer(PATCH, 409)]);
    kube.set_network_status(&old, "[1]").await.unwrap();
    assert_eq!(rig.acts(), [PATCH, GET, PATCH]);
    rig.api.delete("Pod", "default", NAME);
    rig.pod(NAME);
    rig.api.inject([Fault::answer(PATCH, 409)]);
    let error = kube.set_network_status(&old, "[1]").await.unwrap_err();
    assert!(error.to_string().contains("another pod"), "{error}");
    assert_eq!(rig.acts(), [PATCH, GET]);
    rig.api.delete("Pod", "default", NAME);
    rig.api.inject([Fault::answer(PATCH, 409)]);
    let error = kube.set_network_status(&old, "[1]").await.unwrap_err();
    assert!(matches!(error, ClusterError::PodNotFound(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_without_an_answer_is_tried_again() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    rig.api
        .inject([Fault::answer(PATCH, 409), Fault::answer(GET, 500)]);
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert_eq!(rig.acts(), [PATCH, GET, PATCH]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_found_by_get_serves_its_add() {
    let rig = Rig::new().await;
    // This node's watch does not deliver it.
    let mut mirror = crate::rig::pod("etcd", "node2");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "the-hash"});
    let mut wanted = crate::rig::reference(&rig.api.apply(mirror));
    wanted.uid = "the-hash".to_owned();
    let kube = rig.warm().await;
    assert!(kube.pod(&wanted, LONG).await.unwrap().is_static());
    kube.set_network_status(&wanted, "[1]").await.unwrap();
    assert_eq!(rig.acts(), [GET, PATCH, GET, PATCH]);
    let pod = rig.api.get("Pod", "default", "etcd").unwrap();
    let status = &pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"];
    assert_eq!(status, "[1]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_gone_is_said_to_be_gone() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.delete("Pod", "default", "a");
    let error = kube.set_network_status(&pod, "[1]").await.unwrap_err();
    assert!(matches!(error, ClusterError::PodNotFound(_)), "{error}");
    assert_eq!(rig.acts(), [PATCH]);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_and_server_errors_are_tried_again() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.inject([
        Fault::answer(PATCH, 409),
        Fault::answer(PATCH, 500),
        Fault::reset(PATCH),
        Fault::reset(PATCH).after_the_fact(),
        Fault::answer(PATCH, 503),
    ]);
    kube.set_network_status(&pod, "[1]").await.unwrap();
    let acts = rig.acts();
    assert_eq!(acts.iter().filter(|act| *act == PATCH).count(), 6);
    assert_eq!(acts.iter().filter(|act| *act == GET).count(), 1, "{acts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_when_to_ask_again() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.inject([Fault::answer(PATCH, 429).retry_after(1)]);
    let start = Instant::now();
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(rig.acts(), [PATCH; 2]);
    // After any deadline, so that waiting is useless.
    for seconds in [3600, i64::MAX as u64, u64::MAX] {
        rig.api
            .inject([Fault::answer(PATCH, 429).retry_after(seconds)]);
        let error = kube.set_network_status(&pod, "[2]").await.unwrap_err();
        assert!(matches!(error, ClusterError::NotWritten { .. }), "{error}");
        assert_eq!(rig.acts(), [PATCH]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_rejections_are_not_retried() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    for code in [400, 403, 422] {
        rig.api.inject([Fault::answer(PATCH, code)]);
        let error = kube.set_network_status(&pod, "[1]").await.unwrap_err();
        assert!(matches!(error, ClusterError::NotWritten { .. }), "{error}");
        assert_eq!(rig.acts(), [PATCH]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_server_fails_status_at_the_deadline() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = Kube::start(Settings {
        write_patience: Duration::from_millis(300),
        ..rig.settings()
    });
    until_ready(&kube).await;
    // The server answers only once there is a second request, which never comes.
    rig.api.gather(PATCH, 2);
    let error = kube.set_network_status(&pod, "[1]").await.unwrap_err();
    assert!(matches!(error, ClusterError::NotWritten { .. }), "{error}");
}
