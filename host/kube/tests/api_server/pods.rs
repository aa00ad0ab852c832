//! Looking up pods and networks: how many requests the server gets, and which pod matches.

use std::time::Duration;

use cnidaria_core::ports::{Cluster, ClusterError};

use crate::rig::{self, LONG, NODE, Rig, until, until_ready};

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_lookup_asks_nothing() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
    let nad = kube.nad("default", "x").await.unwrap();
    assert_eq!(nad.config.as_deref(), Some(r#"{"type":"bridge"}"#));
    assert_eq!(rig.acts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_streaming_lists_is_paged() {
    let rig = Rig::new().await;
    rig.api.set_streaming_lists(false);
    for number in 0..501 {
        rig.pod(&format!("p{number}"));
    }
    let kube = rig.start();
    until_ready(&kube).await;
    let lists = rig.acts();
    assert_eq!(
        lists.iter().filter(|act| *act == "list pods").count(),
        2,
        "{lists:?}"
    );
    let last = rig::reference(&rig.api.get("Pod", "default", "p500").unwrap());
    assert!(kube.pod(&last, Duration::ZERO).await.is_ok());
    assert_eq!(rig.acts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pods_of_this_node_are_watched() {
    let rig = Rig::new().await;
    let elsewhere = rig::reference(&rig.api.apply(rig::pod("far", "node2")));
    let kube = rig.start();
    until_ready(&kube).await;
    let watched = rig.api.take_requests();
    let pods = watched
        .iter()
        .find(|request| request.act() == "watch pods")
        .unwrap();
    assert!(
        pods.query.contains("fieldSelector=spec.nodeName%3Dnode1"),
        "{}",
        pods.query
    );
    // The pod is not in the cache, so the server is asked.
    kube.pod(&elsewhere, LONG).await.unwrap();
    assert_eq!(rig.acts(), ["get pods"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_waits_for_the_watch_before_a_get() {
    let rig = Rig::new().await;
    let kube = rig.warm().await;
    let wanted = cnidaria_core::domain::pod::PodRef {
        namespace: "default".into(),
        name: "late".into(),
        uid: String::new(),
    };
    // The lookup is polled first, and waits by then.
    let (found, _) = tokio::join!(kube.pod(&wanted, LONG), async { rig.pod("late") });
    assert_eq!(found.unwrap().name, "late");
    assert_eq!(rig.acts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_there_is_not_invented() {
    let rig = Rig::new().await;
    let mut wanted = rig.pod("gone");
    rig.api.delete("Pod", "default", "gone");
    let kube = rig.warm().await;
    for uid in [wanted.uid.clone(), String::new()] {
        wanted.uid = uid;
        let error = kube
            .pod(&wanted, Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(matches!(error, ClusterError::PodNotFound(_)), "{error}");
    }
    assert_eq!(rig.acts(), ["get pods", "get pods"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recreated_pod_is_distinguished_by_uid() {
    let rig = Rig::new().await;
    let old = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.delete("Pod", "default", "a");
    let new = rig.pod("a");
    assert_eq!(kube.pod(&new, LONG).await.unwrap().uid, new.uid);
    let error = kube.pod(&old, LONG).await.unwrap_err();
    assert!(
        matches!(&error, ClusterError::UidMismatch { found, .. } if *found == new.uid),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_is_known_by_its_name() {
    let rig = Rig::new().await;
    let mut mirror = rig::pod("etcd", NODE);
    mirror["metadata"]["annotations"] = serde_json::json!({"kubernetes.io/config.source": "file"});
    let mut wanted = rig::reference(&rig.api.apply(mirror));
    wanted.uid = "the-hash-of-a-file".to_owned();
    let kube = rig.warm().await;
    assert!(kube.pod(&wanted, Duration::ZERO).await.unwrap().is_static());
    kube.set_network_status(&wanted, "[]").await.unwrap();
    assert_eq!(rig.acts(), ["patch pods/status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn uncached_nad_costs_one_get() {
    let rig = Rig::new().await;
    let kube = rig.warm().await;
    let error = kube.nad("default", "nope").await.unwrap_err();
    assert!(matches!(error, ClusterError::NadNotFound { .. }), "{error}");
    assert_eq!(rig.acts(), ["get network-attachment-definitions"]);
    rig.api.apply(rig::nad("x"));
    kube.nad("default", "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_deletions_reach_the_cache() {
    let rig = Rig::new().await;
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    let mut changed = rig::nad("x");
    changed["spec"]["config"] = r#"{"type":"macvlan"}"#.into();
    rig.api.apply(changed);
    let config = async || kube.nad("default", "x").await.unwrap().config;
    let arrived = async {
        while config().await.as_deref() != Some(r#"{"type":"macvlan"}"#) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, arrived).await.unwrap();
    rig.api
        .delete("NetworkAttachmentDefinition", "default", "x");
    let gone = async { while kube.nad("default", "x").await.is_ok() {} };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_expired_watches_relist() {
    let rig = Rig::new().await;
    rig.pod("a");
    let kube = rig.warm().await;
    let lists = |requests: Vec<fake_api::Recorded>| {
        let lists = |r: &&fake_api::Recorded| {
            r.act() == "watch pods" && r.query.contains("sendInitialEvents=true")
        };
        (
            requests.iter().filter(|r| r.act() == "watch pods").count(),
            requests.iter().filter(lists).count(),
        )
    };
    rig.api.end_watches();
    let watched = |n| {
        move |requests: &[fake_api::Recorded]| {
            requests.iter().filter(|r| r.act() == "watch pods").count() >= n
        }
    };
    rig.api.wait_for(watched(1)).await;
    assert_eq!(lists(rig.api.take_requests()), (1, 0));
    rig.api.expire_watches();
    rig.api.wait_for(watched(1)).await;
    assert_eq!(lists(rig.api.take_requests()), (1, 1));
    let late = rig.pod("late");
    assert_eq!(kube.pod(&late, LONG).await.unwrap().name, "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_resumes_from_its_last_bookmark() {
    let rig = Rig::new().await;
    let kube = rig.warm().await;
    // Another node's changes do not reach this watch: without bookmarks its resource version ages.
    rig.api.apply(rig::pod("far", "node2"));
    // Each watch sends its bookmark before it ends.
    rig.api.send_bookmarks();
    rig.api.end_watches();
    let resumed =
        |requests: &[fake_api::Recorded]| requests.iter().any(|r| r.act() == "watch pods");
    rig.api.wait_for(resumed).await;
    let requests = rig.api.take_requests();
    let resumed = requests.iter().find(|r| r.act() == "watch pods").unwrap();
    let version =
        rig.api.get("Pod", "default", "far").unwrap()["metadata"]["resourceVersion"].clone();
    let place = format!("resourceVersion={}", version.as_str().unwrap());
    assert!(
        resumed.query.split('&').any(|member| member == place),
        "{} {place}",
        resumed.query
    );
    until(|| kube.ready().is_ok()).await;
}
