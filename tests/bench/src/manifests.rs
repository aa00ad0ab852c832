//! The pods and networks to measure. `cnidaria-bench manifests` prints them for foreign
//! implementations.

use serde_json::{Value, json};

/// The no-op delegate: the fake delegate without instructions.
pub(crate) const NOOP: &str = "noop";
/// Networks that pods request, besides the default one.
pub(crate) const NETWORKS: usize = 4;
/// Concurrent pod starts in the largest burst.
pub(crate) const BURST: usize = 200;
/// All pods of a node, at the kubelet's default limit, each with all networks.
pub(crate) const NODE: usize = 110;
/// Additional networks of the measured pods.
pub(crate) const EXTRA: [usize; 3] = [0, 1, 4];

/// The pods' node.
pub(crate) const NODE_NAME: &str = "bench";

const NAMESPACE: &str = "default";

/// A pod for single calls.
pub(crate) fn single(extra: usize) -> String {
    format!("bench-k{extra}")
}

/// A pod of a burst, with no additional networks.
pub(crate) fn burst(number: usize) -> String {
    format!("burst-{number:03}")
}

/// A pod of the storm: all of a node's pods at once, each with all networks.
pub(crate) fn storm(number: usize) -> String {
    format!("storm-{number:03}")
}

/// All manifests that measuring calls needs.
pub(crate) fn all() -> Vec<Value> {
    let mut objects: Vec<Value> = (1..=NETWORKS)
        .map(|number| network(&format!("net-{number}"), NOOP))
        .collect();
    objects.extend(EXTRA.map(|extra| pod(&single(extra), extra)));
    objects.extend((0..BURST).map(|number| pod(&burst(number), 0)));
    objects.extend((0..NODE).map(|number| pod(&storm(number), NETWORKS)));
    objects
}

/// A pod that requests the first `extra` networks.
pub(crate) fn pod(name: &str, extra: usize) -> Value {
    let networks: Vec<String> = (1..=extra).map(|number| format!("net-{number}")).collect();
    let mut annotations = json!({
        "example.com/comment": "as long as what other controllers leave on a pod, on average",
    });
    if extra > 0 {
        annotations["k8s.v1.cni.cncf.io/networks"] = networks.join(",").into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": uid(name),
            "labels": { "app": name, "pod-template-hash": "6d4b75cb6d" },
            "annotations": annotations,
        },
        "spec": {
            "nodeName": NODE_NAME,
            "containers": [{ "name": "main", "image": "registry.example.com/app:1" }],
        },
    })
}

/// A NAD with one plugin.
pub(crate) fn network(name: &str, plugin: &str) -> Value {
    let conf = json!({ "cniVersion": "1.0.0", "name": name, "type": plugin });
    network_of(name, &conf)
}

/// A NAD with this conf.
pub(crate) fn network_of(name: &str, conf: &Value) -> Value {
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": { "namespace": NAMESPACE, "name": name },
        "spec": { "config": conf.to_string() },
    })
}

/// The UID of one of these pods.
pub(crate) fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

/// Wraps objects in a List for `kubectl apply`.
pub(crate) fn list(objects: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects })
}
