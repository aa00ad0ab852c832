//! What a test does on a rig beside replaying: it changes what a pod asks for, and looks whether
//! anything is left.

use node::{Call, inspect};
use serde_json::{Value, json};

use crate::observe;
use crate::rig::{self, Rig};

/// Names of the links in a pod's namespace, but `lo`.
///
/// # Panics
/// When there is no such namespace.
pub fn links(netns: &str) -> Vec<String> {
    let links = inspect::links(Some(netns)).unwrap();
    links.into_iter().map(|link| link.name).collect()
}

impl Rig<'_> {
    /// The recorded life of a pod, to be replayed step by step. Its namespace is made.
    ///
    /// # Panics
    /// When there is no such recording.
    pub fn life(&self, pod: &str) -> Value {
        self.make_namespace(&format!("g-{pod}"));
        self.golden(&format!("lifecycle/ok-{pod}.json"))
    }

    /// Lets a pod ask for something else. The file comes after that of the recordings and wins. Where
    /// the pod is there already, before the daemon starts.
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

    /// A network attachment definition beside those of the recordings.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn add_nad(&self, namespace: &str, name: &str, conf: &Value) {
        self.node.add_network(namespace, name, conf).unwrap();
    }

    /// A recorded call with other keys in its conf.
    ///
    /// # Panics
    /// When the recording has no conf.
    pub fn with_conf(&self, recorded: &Value, change: impl FnOnce(&mut Value)) -> Call {
        let mut conf: Value = serde_json::from_str(recorded["stdin"].as_str().unwrap()).unwrap();
        change(&mut conf);
        self.call(recorded).stdin(conf.to_string())
    }

    /// No file of the ledger, no address of host-local and no link of a pod is left.
    ///
    /// # Panics
    /// When something is.
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

    /// The same, and nothing in the namespace of a pod.
    ///
    /// # Panics
    /// When something is.
    pub fn nothing_is_left_of(&self, pod: &str) {
        let inside = links(&format!("g-{pod}"));
        assert_eq!(inside, [""; 0], "{pod}");
        self.nothing_is_left();
    }
}
