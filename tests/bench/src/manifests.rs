//! The pods and networks that the measurements are about. A foreign implementation gets the same,
//! from `cnidaria-bench manifests`.

use serde_json::{Value, json};

/// The delegate that does nothing: the fake delegate without instructions.
pub(crate) const NOOP: &str = "noop";
/// Networks beside the default one that pods ask for.
pub(crate) const NETWORKS: usize = 4;
/// How many pods start at once in the largest burst.
pub(crate) const BURST: usize = 200;
/// A whole node's pods, the default of the kubelet, each with all networks.
pub(crate) const NODE: usize = 110;
/// How many networks beside the default one the measured pods have.
pub(crate) const EXTRA: [usize; 3] = [0, 1, 4];

/// The node that the pods are on.
pub(crate) const NODE_NAME: &str = "bench";

const NAMESPACE: &str = "default";

/// A pod that one call at a time is made for.
pub(crate) fn single(extra: usize) -> String {
    format!("bench-k{extra}")
}

/// A pod of the bursts, without further networks.
pub(crate) fn burst(number: usize) -> String {
    format!("burst-{number:03}")
}

/// A pod of the storm: a whole node at once, each with all networks.
pub(crate) fn storm(number: usize) -> String {
    format!("storm-{number:03}")
}

/// Everything that the measurements of calls need.
pub(crate) fn all() -> Vec<Value> {
    let mut objects: Vec<Value> = (1..=NETWORKS)
        .map(|number| network(&format!("net-{number}"), NOOP))
        .collect();
    objects.extend(EXTRA.map(|extra| pod(&single(extra), extra)));
    objects.extend((0..BURST).map(|number| pod(&burst(number), 0)));
    objects.extend((0..NODE).map(|number| pod(&storm(number), NETWORKS)));
    objects
}

/// A pod that asks for the first `extra` networks.
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

/// A network attachment definition with one plugin.
pub(crate) fn network(name: &str, plugin: &str) -> Value {
    let conf = json!({ "cniVersion": "1.0.0", "name": name, "type": plugin });
    network_of(name, &conf)
}

/// A network attachment definition of a conf.
pub(crate) fn network_of(name: &str, conf: &Value) -> Value {
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": { "namespace": NAMESPACE, "name": name },
        "spec": { "config": conf.to_string() },
    })
}

/// The uid of a pod of ours.
pub(crate) fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

/// One object for `kubectl apply`.
pub(crate) fn list(objects: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects })
}
