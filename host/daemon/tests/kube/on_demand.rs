//! Namespaces: watched where a policy needs them, and nowhere else.

use daemon::ports::Cluster;
use serde_json::json;

use crate::rig::{Rig, until, until_ready};

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_watched_from_the_moment_that_somebody_needs_them() {
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
    assert!(lists.count() <= 2, "one watch, whoever needs it");
}
