//! The installed roles allow exactly the requests that the daemon sends.

use std::collections::BTreeSet;
use std::time::Duration;

use cnidaria_core::ports::{Cluster, Event, EventKind, Reach};
use cnidaria_kube::{DaemonSet, Kube, NodePolicies};
use fake_api::Recorded;
use serde_json::{Value, json};

use crate::policy_status;
use crate::rig::{self, LONG, NODE, Rig, deploy, until, until_ready};

/// `verb resource` of every rule of the cluster roles in these manifests.
pub(crate) fn allowed(files: &[&str]) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(deploy(file)).unwrap();
        let manifests: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let rules = manifests
            .iter()
            .filter(|manifest| manifest["kind"] == "ClusterRole")
            .flat_map(|role| role["rules"].as_array().unwrap());
        for rule in rules {
            let list =
                |name: &str| -> Vec<String> { serde_json::from_value(rule[name].clone()).unwrap() };
            for resource in list("resources") {
                let verbs = list("verbs").into_iter();
                allowed.extend(verbs.map(|verb| format!("{verb} {resource}")));
            }
        }
    }
    allowed
}

async fn publish_and_delete(rig: &Rig, kube: &Kube) {
    rig.api
        .apply(json!({"kind": "Node", "metadata": {"name": NODE}}));
    let status = kube.policy_status("1", policy_status::PACE).unwrap();
    status.publish(NodePolicies::default());
    until(|| policy_status::object(rig).is_some_and(|object| object["status"].is_object())).await;
    kube.client()
        .delete_policy_status(NODE, LONG)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn role_allows_exactly_the_requests_made() {
    let mut used = BTreeSet::new();
    for streaming in [true, false] {
        let rig = Rig::new().await;
        rig.api.set_streaming_lists(streaming);
        let pod = rig.pod("a");
        let far = rig::reference(&rig.api.apply(rig::pod("far", "node2")));
        rig.api.apply(rig::nad("x"));
        let kube = rig.start();
        kube.remember_namespaces();
        kube.remember_node(NODE);
        until_ready(&kube).await;
        kube.pod(&far, LONG).await.unwrap();
        kube.nad("default", "unknown").await.unwrap_err();
        kube.resource_claim("default", "unknown").await.unwrap_err();
        kube.resource_slices("driver", Reach::Node).await.unwrap();
        let daemon_set = kube
            .client()
            .daemon_set("kube-system", "cnidaria", LONG)
            .await;
        assert_eq!(daemon_set, DaemonSet::Deleted);
        publish_and_delete(&rig, &kube).await;
        kube.set_network_status(&pod, "[1]").await.unwrap();
        for _ in 0..2 {
            let event = Event {
                kind: EventKind::Normal,
                reason: "AddedInterface",
                message: "x".to_owned(),
            };
            kube.event(&pod, event);
        }
        until(|| rig.api.all("Event").iter().any(|event| event["count"] == 2)).await;
        let requests = rig.api.take_requests();
        assert!(!requests.iter().any(|request| request.code == 403));
        used.extend(requests.iter().map(Recorded::act));
    }
    assert_eq!(
        used,
        allowed(&[
            "base/rbac.yaml",
            "base/policy-status.yaml",
            "components/policy-lookups/policy-lookups.yaml"
        ])
    );
}

/// Without a permission, the server refuses, and STATUS or the request reports it.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_role_every_request_is_refused() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let stranger = fake_api::User::service_account("default", "stranger");
    let token = rig.api.issue_token(stranger);
    let kubeconfig = rig.dir.path().join("kubeconfig");
    rig.api.write_kubeconfig(&kubeconfig, &token).unwrap();
    let kube = rig.start();
    kube.pod(&pod, Duration::from_millis(300))
        .await
        .unwrap_err();
    kube.nad("default", "x").await.unwrap_err();
    kube.set_network_status(&pod, "[1]").await.unwrap_err();
    let refused = kube
        .client()
        .daemon_set("kube-system", "cnidaria", LONG)
        .await;
    assert!(matches!(refused, DaemonSet::Refused(_)), "{refused:?}");
    let requests = rig.api.take_requests();
    assert!(requests.len() >= 3);
    assert!(
        requests.iter().all(|request| request.code == 403),
        "{requests:?}"
    );
}
