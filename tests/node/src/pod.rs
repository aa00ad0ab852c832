//! Pods as the API server describes them, and the sandboxes that a runtime creates for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

/// A pod's manifest.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
    pub uid: String,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Pod {
    /// A pod without annotations. Its UID is derived from its name, so output is reproducible.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-of-{namespace}-{name}"),
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Sets the annotation that requests networks: a comma-separated list or JSON.
    #[must_use]
    pub fn networks(self, networks: &str) -> Self {
        self.annotation("k8s.v1.cni.cncf.io/networks", networks)
    }

    /// Sets an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "uid": self.uid,
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": { "containers": [] },
        })
    }
}

/// What a runtime creates before it calls CNI: a container id and a network namespace.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The sandbox's pod.
    pub pod: Pod,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// The namespace's name in `/run/netns`.
    pub netns_name: String,
}

impl Sandbox {
    /// `CNI_NETNS`.
    pub fn netns(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.netns_name)
    }
}
