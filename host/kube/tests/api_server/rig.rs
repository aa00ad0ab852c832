//! A fake API server, an adapter that watches it, and what tests need from both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::ports::Cluster;
use cnidaria_kube::{Access, Kube, Settings};
use fake_api::{FakeApi, User};
use serde_json::{Value, json};

pub(crate) const NODE: &str = "node1";
/// Longer than anything here takes: a test that waits for it fails.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/kustomize")
        .join(file)
}

pub(crate) struct Rig {
    pub(crate) api: FakeApi,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) token: String,
}

impl Rig {
    /// A server with the installed roles.
    pub(crate) async fn new() -> Self {
        let api = FakeApi::builder()
            .roles(deploy("base/rbac.yaml"))
            .roles(deploy("base/policy-status.yaml"))
            .roles(deploy("components/policy-lookups/policy-lookups.yaml"))
            .start()
            .await
            .unwrap();
        let token = api.issue_token(User::service_account("kube-system", "cnidaria"));
        let dir = tempfile::tempdir().unwrap();
        api.write_kubeconfig(&dir.path().join("kubeconfig"), &token)
            .unwrap();
        Self { api, dir, token }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            access: Access::Kubeconfig(self.dir.path().join("kubeconfig")),
            node_name: Some(NODE.to_owned()),
            write_patience: Duration::from_secs(5),
            outage_patience: Duration::ZERO,
        }
    }

    /// Starts an adapter.
    pub(crate) fn start(&self) -> Kube {
        Kube::start(self.settings())
    }

    /// Starts an adapter and fills its caches. Clears the recorded requests.
    pub(crate) async fn warm(&self) -> Kube {
        let kube = self.start();
        until_ready(&kube).await;
        self.api.take_requests();
        kube
    }

    /// Adds a pod on this node, and returns the runtime's reference to it, with its uid.
    pub(crate) fn pod(&self, name: &str) -> PodRef {
        reference(&self.api.apply(pod(name, NODE)))
    }

    /// The requests since the last call, without watches and Events.
    pub(crate) fn acts(&self) -> Vec<String> {
        let requests = self.api.take_requests();
        for request in &requests {
            let agent = &request.user_agent;
            assert!(agent.starts_with("cnidaria-daemon/"), "{request:?}");
        }
        let acts = requests.iter().map(fake_api::Recorded::act);
        acts.filter(|act| !act.starts_with("watch ") && !act.ends_with(" events"))
            .collect()
    }
}

pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "x"}]},
        "status": {"phase": "Pending"},
    })
}

pub(crate) fn nad(name: &str) -> Value {
    json!({
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"config": r#"{"type":"bridge"}"#},
    })
}

pub(crate) fn reference(pod: &Value) -> PodRef {
    let member = |name: &str| pod["metadata"][name].as_str().unwrap().to_owned();
    PodRef {
        namespace: member("namespace"),
        name: member("name"),
        uid: member("uid"),
    }
}

pub(crate) async fn until_ready(kube: &Kube) {
    until(|| kube.ready().is_ok()).await;
}

/// Polls until a condition holds that has no notification.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting)
        .await
        .expect("it never came to hold");
}
