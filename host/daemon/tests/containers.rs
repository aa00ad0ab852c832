//! Containers of runtimes without Kubernetes: podman, nerdctl, cnitool. Without a cluster, what
//! they send identifies the pod.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use cnidaria_core::pipeline::Pipeline;
use daemon::adapters::manifests::Manifests;
use daemon::response;
use support::World;
use tempfile::TempDir;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PODMAN: &str = "IgnoreUnknown=1;K8S_POD_NAME=web";

/// A node with a directory of manifests, and fakes of all other ports.
struct Rig {
    world: Arc<World>,
    pipeline: Arc<Pipeline>,
    manifests: TempDir,
    status: TempDir,
}

impl Rig {
    fn new(pods: &[&str]) -> Self {
        let manifests = tempfile::tempdir().unwrap();
        let status = tempfile::tempdir().unwrap();
        for network in ["one", "two"] {
            let config = format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"t"}}"#);
            let nad = serde_json::json!({
                "kind": "NetworkAttachmentDefinition",
                "metadata": { "name": network },
                "spec": { "config": config },
            });
            let path = manifests.path().join(format!("{network}.json"));
            std::fs::write(path, nad.to_string()).unwrap();
        }
        let world = World::new();
        let cluster = Manifests::open(manifests.path(), Some(status.path())).unwrap();
        let pipeline = world.pipeline_in(Arc::new(cluster));
        let rig = Self {
            world,
            pipeline,
            manifests,
            status,
        };
        pods.iter().for_each(|pod| rig.describe(pod));
        rig
    }

    /// Writes the manifest of a pod that selects the network `one`.
    fn describe(&self, pod: &str) {
        let (namespace, name) = pod.split_once('/').unwrap();
        let manifest = serde_json::json!({ "kind": "Pod", "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": { "k8s.v1.cni.cncf.io/networks": "default/one" },
        } });
        let path = self
            .manifests
            .path()
            .join(format!("{namespace}-{name}.json"));
        std::fs::write(path, manifest.to_string()).unwrap();
    }

    async fn call(&self, verb: &str, id: &str, args: Option<&str>) -> Result<(), (u32, String)> {
        let answer = self
            .pipeline
            .handle(&body(verb, id, "eth0", args, CNI))
            .await;
        answer.map(drop).map_err(|error| {
            let error = response::cni_error(&error);
            (error.code, error.to_string())
        })
    }

    /// The recorded pods and networks.
    fn recorded(&self, id: &str) -> Vec<String> {
        let recorded = self.world.recorded.lock().unwrap();
        let entries = recorded.get(id).into_iter().flatten();
        entries
            .map(|e| format!("{} {}", e.pod, e.network))
            .collect()
    }

    fn statuses(&self) -> Vec<String> {
        let dir = std::fs::read_dir(self.status.path().join("default")).unwrap();
        let mut names: Vec<String> = dir
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn sessions(&self) -> Vec<String> {
        std::mem::take(&mut *self.world.sessions.lock().unwrap())
    }
}

const CNI: &str = r#"{"cniVersion":"1.0.0","name":"n","type":"cnidaria-shim","delegates":[{"cniVersion":"1.0.0","name":"default","type":"t"}]}"#;

fn body(verb: &str, id: &str, if_name: &str, args: Option<&str>, conf: &str) -> Vec<u8> {
    let mut env = vec![
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", id),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", if_name),
    ];
    env.extend(args.map(|args| ("CNI_ARGS", args)));
    shim_api::Request {
        env: env
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        config: conf.as_bytes().to_vec(),
        interface_attributes: None,
    }
    .to_json()
}

#[tokio::test]
async fn a_pod_is_found_by_what_its_runtime_sends() {
    let nerdctl_id = &format!("default-{ID}");
    for (pod, id, args) in [
        ("default/web", "c1", Some(PODMAN)),
        (
            "default/nifty-pasteur",
            "c1",
            Some("IgnoreUnknown=1;K8S_POD_NAME=nifty_pasteur;IP=10.1.0.77"),
        ),
        (
            "default/web",
            "c1",
            Some(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1",
            ),
        ),
        (
            "web/web",
            "c1",
            Some(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1",
            ),
        ),
        (
            "default/web",
            nerdctl_id,
            Some("IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=web"),
        ),
        (
            &format!("default/{ID}"),
            nerdctl_id,
            Some("IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=0123456789ab"),
        ),
        ("default/c1", "c1", None),
        ("default/c1", "c1", Some("")),
        ("default/c1", "c1", Some("K8S_POD_NAME=")),
    ] {
        let rig = Rig::new(&[pod]);
        let expected = [format!("{pod} default"), format!("{pod} default/one")];
        let case = format!("{pod} {args:?}");
        rig.call("ADD", id, args).await.expect(&case);
        assert_eq!(rig.recorded(id), expected, "{case}");
        rig.call("CHECK", id, args).await.expect(&case);
        rig.call("DEL", id, args).await.expect(&case);
        assert!(rig.recorded(id).is_empty(), "{case}");
    }
}

#[tokio::test]
async fn an_unknown_container_has_the_default_network() {
    let rig = Rig::new(&["default/other"]);
    rig.call("ADD", "c1", Some(PODMAN)).await.unwrap();
    assert_eq!(rig.recorded("c1"), ["default/web default"]);
    rig.call("ADD", "c2", None).await.unwrap();
    assert_eq!(rig.recorded("c2"), ["default/c2 default"]);
    assert_eq!(rig.statuses(), ["c2.json", "web.json"]);
}

#[tokio::test]
async fn a_default_manifest_describes_the_rest() {
    let rig = Rig::new(&["default/default"]);
    for (id, args, name) in [("c1", Some(PODMAN), "web"), ("c2", None, "c2")] {
        rig.call("ADD", id, args).await.unwrap();
        let expected =
            ["default", "default/one"].map(|network| format!("default/{name} {network}"));
        assert_eq!(rig.recorded(id), expected);
    }
    assert_eq!(rig.statuses(), ["c2.json", "web.json"]);
}

#[tokio::test]
async fn a_manifest_that_comes_late_is_found() {
    let rig = Rig::new(&[]);
    rig.describe("default/web");
    rig.call("ADD", "c1", Some(PODMAN)).await.unwrap();
    assert_eq!(rig.recorded("c1").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_kubelets_pod_needs_its_manifest() {
    let rig = Rig::new(&["default/default"]);
    for args in [
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_UID=u",
    ] {
        let (code, message) = rig.call("ADD", "c1", Some(args)).await.unwrap_err();
        assert_eq!(code, 11, "{message}");
        assert!(message.contains("web not found"), "{message}");
    }
}

#[tokio::test]
async fn names_that_no_container_has_are_refused() {
    let rig = Rig::new(&["default/default"]);
    for (args, word) in [
        ("K8S_POD_NAME=../web", "K8S_POD_NAME"),
        ("K8S_POD_NAMESPACE=default", "K8S_POD_NAME missing"),
        (
            "K8S_POD_NAMESPACE=default;K8S_POD_NAME=",
            "K8S_POD_NAME missing",
        ),
        (
            "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=web",
            "K8S_POD_NAMESPACE",
        ),
        (
            "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=../x",
            "K8S_POD_NAMESPACE",
        ),
        ("NERDCTL_CNI_DHCP_HOSTNAME=web", "NERDCTL_CNI_DHCP_HOSTNAME"),
    ] {
        for verb in ["ADD", "CHECK"] {
            let (code, message) = rig.call(verb, "c1", Some(args)).await.unwrap_err();
            assert_eq!(code, 4, "{verb} {args}: {message}");
            assert!(message.contains(word), "{verb} {args}: {message}");
        }
        rig.call("DEL", "c1", Some(args)).await.unwrap();
    }
    assert!(rig.recorded("c1").is_empty());
}

#[tokio::test]
async fn a_cluster_needs_namespace_and_name() {
    let world = World::new();
    world.pod("web", "one");
    let pipeline = world.pipeline();
    for (args, word) in [
        (Some(PODMAN), "K8S_POD_NAMESPACE"),
        (None, "K8S_POD_NAMESPACE"),
        (Some(""), "K8S_POD_NAMESPACE"),
        (
            Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=Web"),
            "K8S_POD_NAME",
        ),
    ] {
        let body = body("ADD", "c1", "eth0", args, CNI);
        let error = pipeline.handle(&body).await.unwrap_err();
        let error = response::cni_error(&error);
        assert_eq!(error.code, 4, "{args:?}");
        assert!(error.to_string().contains(word), "{args:?}: {error}");
    }
    assert!(world.log().is_empty());
}

#[tokio::test]
async fn policies_see_the_pod_that_add_found() {
    let rig = Rig::new(&["web/web"]);
    let old_podman = "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web";
    rig.call("ADD", "c1", Some(old_podman)).await.unwrap();
    rig.call("CHECK", "c1", Some(PODMAN)).await.unwrap();
    // DEL does not need the manifest.
    std::fs::remove_file(rig.manifests.path().join("web-web.json")).unwrap();
    rig.call("DEL", "c1", None).await.unwrap();
    assert_eq!(
        rig.sessions(),
        ["ADD web/web", "CHECK web/web", "DEL web/web"]
    );
}

#[tokio::test]
async fn a_hot_plug_keeps_the_containers_pod() {
    const HOT: &str = r#"{"cniVersion":"1.0.0","name":"hot","type":"t"}"#;
    for (pods, pod) in [
        (&["default/web"][..], "default/web"),
        (&["default/default"], "default/web"),
        (&[], "default/web"),
    ] {
        let rig = Rig::new(pods);
        rig.call("ADD", "c1", Some(PODMAN)).await.unwrap();
        let made = rig.recorded("c1");
        rig.sessions();
        for args in [
            None,
            Some(PODMAN),
            Some("K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"),
        ] {
            for verb in ["ADD", "CHECK", "DEL"] {
                let body = body(verb, "c1", "net5", args, HOT);
                rig.pipeline.hotplug(&body).await.unwrap();
                let expected = format!("{verb} {pod}");
                assert_eq!(rig.sessions(), [expected], "{pods:?} {args:?}");
            }
        }
        assert_eq!(rig.recorded("c1"), made);
        rig.call("DEL", "c1", None).await.unwrap();
    }
}
