//! Test steps other than replaying: changing a pod's requests, and checking that nothing is left.

use node::{Call, inspect};
use serde_json::{Value, json};

use crate::observe;
use crate::rig::{self, Rig};

/// Names of the links in a pod's namespace, except `lo`.
///
/// # Panics
/// When the namespace does not exist.
pub fn links(netns: &str) -> Vec<String> {
    let links = inspect::links(Some(netns)).unwrap();
    links.into_iter().map(|link| link.name).collect()
}

impl Rig<'_> {
    /// A pod's recorded life, to be replayed step by step. Creates its namespace.
    ///
    /// # Panics
    /// When the recording does not exist.
    pub fn life(&self, pod: &str) -> Value {
        self.make_namespace(&format!("g-{pod}"));
        self.golden(&format!("lifecycle/ok-{pod}.json"))
    }

    /// Changes the networks that a pod requests. The file sorts after the recorded one and
    /// overrides it. For a pod that already exists, call this before the daemon starts.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn ask_for(&self, pod: &str, networks: &str) {
        let manifest = json!({
            "kind": "Pod",
            "metadata": {
                "name": pod, "namespace": "default", "uid": rig::uid(pod),
                "annotations": {"k8s.v1.cni.cncf.io/networks": networks},
            },
        });
        let name = format!("manifests/zz-{pod}.json");
        self.node.write(&name, manifest.to_string()).unwrap();
    }

    /// Adds a NAD to the recorded ones.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn add_nad(&self, namespace: &str, name: &str, conf: &Value) {
        self.node.add_network(namespace, name, conf).unwrap();
    }

    /// A recorded call with a modified conf.
    ///
    /// # Panics
    /// When the recording has no conf.
    pub fn with_conf(&self, recorded: &Value, change: impl FnOnce(&mut Value)) -> Call {
        let mut conf: Value = serde_json::from_str(recorded["stdin"].as_str().unwrap()).unwrap();
        change(&mut conf);
        self.call(recorded).stdin(conf.to_string())
    }

    /// Asserts that no ledger file, no host-local address and no pod's link is left.
    ///
    /// # Panics
    /// When something is left.
    pub fn nothing_is_left(&self) {
        assert_eq!(observe::ledger(self.node), json!({}));
        let reserved = inspect::reserved_addresses(self.node).unwrap();
        assert!(reserved.is_empty(), "{reserved:?}");
        let links = inspect::links(None).unwrap();
        let of_pods: Vec<_> = links
            .iter()
            .filter(|link| link.kind != "bridge" && !rig::WIRE.contains(&link.name.as_str()))
            .collect();
        assert!(of_pods.is_empty(), "{of_pods:?}");
    }

    /// Also asserts that a pod's namespace is empty.
    ///
    /// # Panics
    /// When something is left.
    pub fn nothing_is_left_of(&self, pod: &str) {
        let inside = links(&format!("g-{pod}"));
        assert_eq!(inside, [""; 0], "{pod}");
        self.nothing_is_left();
    }
}
