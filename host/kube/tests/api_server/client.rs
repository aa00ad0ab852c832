//! Single requests of operators' commands.

use std::time::Duration;

use cnidaria_kube::client::{Error, Right};
use cnidaria_kube::{Access, Client};
use fake_api::{FakeApi, User};
use serde_json::json;

use crate::rig::{self, LONG, Rig};

const LIST_PODS: Right = Right {
    verb: "list",
    group: "",
    resource: "pods",
    subresource: "",
};

fn client(rig: &Rig) -> Client {
    Client::new(Access::Kubeconfig(rig.dir.path().join("kubeconfig")))
}

fn daemon_set() -> serde_json::Value {
    json!({
        "kind": "DaemonSet",
        "apiVersion": "apps/v1",
        "metadata": {"name": "cnidaria", "namespace": "kube-system"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_networks_can_be_asked_for() {
    let rig = Rig::new().await;
    let client = client(&rig);
    assert!(client.may(&LIST_PODS, LONG).await.unwrap());
    let delete = Right {
        verb: "delete",
        ..LIST_PODS
    };
    assert!(!client.may(&delete, LONG).await.unwrap());
    let status = Right {
        verb: "patch",
        subresource: "status",
        ..LIST_PODS
    };
    assert!(client.may(&status, LONG).await.unwrap());
    rig.api.apply(rig::nad("x"));
    let nads = client.nads(LONG).await.unwrap();
    assert_eq!(nads[0].name, "x");
    rig.api.set_served("NetworkAttachmentDefinition", false);
    let error = client.nads(LONG).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    rig.api.go_down();
    let error = client.nads(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemonset_is_deleted_and_waited_for() {
    let rig = Rig::new().await;
    rig.api.apply(daemon_set());
    let refused = client(&rig)
        .delete_daemon_set("kube-system", "cnidaria", LONG)
        .await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");

    let roles = rig.dir.path().join("roles.yaml");
    let manifests = r#"
kind: ClusterRole
metadata: { name: deleter }
rules: [{ apiGroups: ["apps"], resources: ["daemonsets"], verbs: ["get", "delete"] }]
---
kind: ClusterRoleBinding
roleRef: { name: deleter }
subjects: [{ kind: ServiceAccount, namespace: kube-system, name: deleter }]
"#;
    std::fs::write(&roles, manifests).unwrap();
    let api = FakeApi::builder().roles(&roles).start().await.unwrap();
    let token = api.issue_token(User::service_account("kube-system", "deleter"));
    let kubeconfig = rig.dir.path().join("other");
    api.write_kubeconfig(&kubeconfig, &token).unwrap();
    api.apply(daemon_set());
    let client = Client::new(Access::Kubeconfig(kubeconfig));
    for _ in 0..2 {
        client
            .delete_daemon_set("kube-system", "cnidaria", LONG)
            .await
            .unwrap();
        assert!(api.get("DaemonSet", "kube-system", "cnidaria").is_none());
    }
    let deletion = api
        .take_requests()
        .into_iter()
        .find(|one| one.verb == "delete");
    assert_eq!(deletion.unwrap().body["propagationPolicy"], "Foreground");
}
