//! Namespaces and the daemon's own node: watched only if a policy needs them.

use cnidaria_core::ports::Cluster;
use serde_json::json;

use crate::rig::{Rig, until, until_ready};

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_watched_only_on_demand() {
    let rig = Rig::new().await;
    let namespace = |team: &str| {
        json!({
            "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"team": team}, "annotations": {"note": "x"}},
        })
    };
    rig.api.apply(namespace("a"));
    let kube = rig.warm().await;
    assert_eq!(kube.namespace("shop"), None);
    let asked = rig.api.take_requests();
    assert!(!asked.iter().any(|one| one.act().contains("namespaces")));

    kube.remember_namespaces();
    kube.remember_namespaces();
    until_ready(&kube).await;
    let shop = kube.namespace("shop").unwrap();
    assert_eq!(shop.labels["team"], "a");
    assert_eq!(shop.annotations["note"], "x");
    rig.api.apply(namespace("b"));
    until(|| {
        kube.namespace("shop")
            .is_some_and(|shop| shop.labels["team"] == "b")
    })
    .await;
    assert_eq!(kube.namespace("other"), None);
    let asked = rig.api.take_requests();
    let lists = asked
        .iter()
        .filter(|one| one.act() == "watch namespaces" || one.act() == "list namespaces");
    assert!(lists.count() <= 2, "all callers share one watch");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_nodes_only_the_own_one_is_watched() {
    let rig = Rig::new().await;
    let node = |name: &str, zone: &str| json!({"kind": "Node", "metadata": {"name": name, "labels": {"zone": zone}}});
    rig.api.apply(node("node1", "a"));
    rig.api.apply(node("node2", "a"));
    let kube = rig.warm().await;
    kube.remember_node("node1");
    kube.remember_node("node1");
    until_ready(&kube).await;
    assert_eq!(kube.node("node1").unwrap().labels["zone"], "a");
    rig.api.apply(node("node2", "b"));
    rig.api.apply(node("node1", "b"));
    until(|| {
        kube.node("node1")
            .is_some_and(|node| node.labels["zone"] == "b")
    })
    .await;
    assert_eq!(kube.node("node2"), None);
    let asked = rig.api.take_requests();
    let of_nodes: Vec<_> = asked
        .iter()
        .filter(|one| one.act().ends_with(" nodes"))
        .collect();
    assert!(!of_nodes.is_empty());
    for one in of_nodes {
        assert!(one.query.contains("metadata.name%3Dnode1"), "{one:?}");
    }
}
