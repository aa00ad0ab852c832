//! The manifests in `deploy/`: Kubernetes knows all their fields, the daemon accepts its
//! configuration, and the admission policy allows the right updates. Its CEL expressions are
//! evaluated by another implementation than the API server's. `tests/deploy` checks what kustomize
//! and Helm make of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails here says where"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cel::{Context, Env};
use daemon::config::daemon::DaemonConfig;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn base() -> PathBuf {
    directory().join("kustomize/base")
}

fn manifests(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// A manifest of the kustomize base.
fn manifest(file: &str, kind: &str) -> Value {
    let manifests = manifests(&base().join(file));
    let of_kind = |manifest: &Value| manifest["kind"] == kind;
    manifests.into_iter().find(of_kind).unwrap()
}

/// Decodes and encodes a manifest as `T`, which drops fields that the type does not have.
fn through<T: DeserializeOwned + Serialize>(manifest: &Value) -> Value {
    let object: T = serde_json::from_value(manifest.clone()).unwrap();
    serde_json::to_value(object).unwrap()
}

#[test]
fn manifests_have_only_kubernetes_fields() {
    let files = std::fs::read_dir(base()).unwrap();
    let mut files: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    // The other components are patches, not complete objects.
    files.extend(
        [
            "example-policy.yaml",
            "kustomize/components/per-node-certificate/per-node-certificate.yaml",
            "kustomize/components/policy-lookups/policy-lookups.yaml",
        ]
        .map(|file| directory().join(file)),
    );
    for file in files {
        for manifest in manifests(&file) {
            let understood = match manifest["kind"].as_str().unwrap() {
                "ClusterRole" => through::<ClusterRole>(&manifest),
                "ClusterRoleBinding" => through::<ClusterRoleBinding>(&manifest),
                "ConfigMap" => through::<ConfigMap>(&manifest),
                "CustomResourceDefinition" => through::<CustomResourceDefinition>(&manifest),
                "DaemonSet" => through::<DaemonSet>(&manifest),
                "ServiceAccount" => through::<ServiceAccount>(&manifest),
                "ValidatingAdmissionPolicy" => through::<ValidatingAdmissionPolicy>(&manifest),
                "ValidatingAdmissionPolicyBinding" => {
                    through::<ValidatingAdmissionPolicyBinding>(&manifest)
                }
                other => panic!("{}: no type for {other}", file.display()),
            };
            let (understood, manifest) = (in_floats(understood), in_floats(manifest));
            assert_eq!(understood, manifest, "{}", file.display());
        }
    }
}

/// The same with all numbers as floats: a schema's bounds are, and are written as `0`.
fn in_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(elements) => elements.into_iter().map(in_floats).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, in_floats(value)))
            .collect(),
        other => other,
    }
}

#[test]
fn daemon_accepts_the_deployed_configuration() {
    let config = manifest("daemonset.yaml", "ConfigMap");
    let text = config["data"]["daemon-config.json"].as_str().unwrap();
    DaemonConfig::parse(text.as_bytes()).unwrap();
    let pod = &manifest("daemonset.yaml", "DaemonSet")["spec"]["template"]["spec"];
    let names = |list: &Value| -> Vec<String> {
        let names = list.as_array().unwrap().iter();
        names
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let volumes = names(&pod["volumes"]);
    for containers in ["initContainers", "containers"] {
        for container in pod[containers].as_array().unwrap() {
            for mount in names(&container["volumeMounts"]) {
                assert!(volumes.contains(&mount), "{mount}");
            }
        }
    }
}

/// The admission policy; reviewing a pod update returns its messages, none if allowed.
struct Policy(Value);

impl Policy {
    fn review(&self, user: &Value, before: &Value, after: &Value) -> Vec<String> {
        let spec = &self.0["spec"];
        let language = Arc::new(Env::stdlib());
        let mut context = Context::with_env(Arc::clone(&language));
        let operation = match (before, after) {
            (Value::Null, _) => "CREATE",
            (_, Value::Null) => "DELETE",
            _ => "UPDATE",
        };
        let request = json!({"userInfo": user, "operation": operation});
        let given = [
            ("request", &request),
            ("oldObject", before),
            ("object", after),
        ];
        for (name, value) in given {
            context.add_variable(name, value).unwrap();
        }
        let text = |value: &Value, member: &str| value[member].as_str().unwrap().to_owned();
        let list = |member: &str| spec[member].as_array().unwrap().iter();
        let evaluate = |context: &Context<'_, '_>, expression: &str| {
            let program = language.compile(expression).unwrap();
            program.execute(context)
        };
        let applies = list("matchConditions")
            .all(|one| evaluate(&context, &text(one, "expression")) == Ok(true.into()));
        if !applies {
            return Vec::new();
        }
        let variables: HashMap<String, cel::Value> = list("variables")
            .map(|one| {
                let value = evaluate(&context, &text(one, "expression")).unwrap();
                (text(one, "name"), value)
            })
            .collect();
        context.add_variable_from_value("variables", variables);
        // With failurePolicy Fail, an update passes only if the result is true.
        list("validations")
            .filter(|one| evaluate(&context, &text(one, "expression")) != Ok(true.into()))
            .map(|one| match one["message"].as_str() {
                Some(message) => message.to_owned(),
                None => format!("{:?}", evaluate(&context, &text(one, "messageExpression"))),
            })
            .collect()
    }
}

fn service_account(node: &str) -> Value {
    json!({
        "username": "system:serviceaccount:kube-system:cnidaria",
        "extra": {"authentication.kubernetes.io/node-name": [node]},
    })
}

fn pod() -> Value {
    json!({
        "metadata": {"name": "a", "uid": "u", "annotations": {"k": "v"}, "labels": {"app": "x"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending"},
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut pod = pod();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let member = member.replace("~1", "/");
    match (pod.pointer_mut(parent).unwrap(), value) {
        (parent, Value::Null) => drop(parent.as_object_mut().unwrap().remove(&member)),
        (parent, value) => parent[member] = value,
    }
    pod
}

const STATUS: &str = "/metadata/annotations/k8s.v1.cni.cncf.io~1network-status";

#[test]
fn daemon_may_write_status_of_its_nodes_pods() {
    let policy = Policy(manifest("admission.yaml", "ValidatingAdmissionPolicy"));
    let bare = with("/metadata/annotations", Value::Null);
    let mut first = bare.clone();
    first["metadata"]["annotations"] = json!({"k8s.v1.cni.cncf.io/network-status": "[]"});
    let written = with(STATUS, json!("[]"));
    let rewritten = with(STATUS, json!("[1]"));
    let node = json!({"username": "system:multus:n1", "groups": ["system:multus"]});
    for user in [service_account("n1"), node] {
        for (before, after) in [
            (&pod(), &written),
            (&bare, &first),
            (&written, &rewritten),
            (&written, &pod()),
            (&written, &written),
        ] {
            let refused = policy.review(&user, before, after);
            assert!(refused.is_empty(), "{user} {after}: {refused:?}");
        }
    }
}

#[test]
fn a_daemon_may_write_nothing_else() {
    let policy = Policy(manifest("admission.yaml", "ValidatingAdmissionPolicy"));
    for (after, reason) in [
        (
            with("/metadata/annotations/k", json!("w")),
            "only the annotation",
        ),
        (
            with("/metadata/annotations/k", Value::Null),
            "only the annotation",
        ),
        (
            with("/metadata/annotations/new", json!("w")),
            "only the annotation",
        ),
        (
            with("/metadata/annotations", Value::Null),
            "only the annotation",
        ),
        (with("/metadata/labels/app", json!("y")), "only annotations"),
        (with("/metadata/labels", Value::Null), "only annotations"),
        (
            with("/metadata/finalizers", json!(["f"])),
            "only annotations",
        ),
        (with("/spec/hostNetwork", json!(true)), "only annotations"),
        (with("/status/phase", json!("Failed")), "only annotations"),
        (with("/status", Value::Null), "only annotations"),
    ] {
        let refused = policy.review(&service_account("n1"), &pod(), &after);
        assert_eq!(refused.len(), 1, "{after}: {refused:?}");
        assert!(refused[0].starts_with(reason), "{after}: {refused:?}");
    }
}

#[test]
fn daemon_may_not_write_other_nodes_pods() {
    let policy = Policy(manifest("admission.yaml", "ValidatingAdmissionPolicy"));
    let written = with(STATUS, json!("[]"));
    let account = "system:serviceaccount:kube-system:cnidaria";
    for user in [
        service_account("n2"),
        service_account(""),
        json!({"username": account}),
        json!({"username": account, "extra": {"other": ["n1"]}}),
        json!({"username": "system:multus:n2"}),
        json!({"username": "system:multus:"}),
    ] {
        let refused = policy.review(&user, &pod(), &written);
        assert_eq!(refused.len(), 1, "{user}: {refused:?}");
        assert!(refused[0].contains("own node alone"), "{refused:?}");
    }
    // An empty node name must not match a pod without a node.
    let unscheduled = with("/spec/nodeName", Value::Null);
    for user in [service_account(""), json!({"username": "system:multus:"})] {
        let refused = policy.review(&user, &unscheduled, &unscheduled);
        assert_eq!(refused.len(), 1, "{user}: {refused:?}");
    }
}

/// The API server checks the types of expressions, and warns if a typed member defaults to a map.
#[test]
fn members_with_types_have_no_defaults_of_others() {
    let policy = Policy(manifest("admission.yaml", "ValidatingAdmissionPolicy"));
    let validations = policy.0["spec"]["validations"].as_array().unwrap().iter();
    for validation in validations {
        let expression = validation["expression"].as_str().unwrap();
        for member in ["spec", "status"] {
            let typed = format!("?{member}.orValue(");
            assert!(!expression.contains(&typed), "{expression}");
        }
    }
}

#[test]
fn admission_policy_denies_only_daemons() {
    let document = manifest("admission.yaml", "ValidatingAdmissionPolicy");
    let binding = manifest("admission.yaml", "ValidatingAdmissionPolicyBinding");
    assert_eq!(binding["spec"]["policyName"], document["metadata"]["name"]);
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    assert_eq!(document["spec"]["failurePolicy"], "Fail");
    let policy = Policy(document);
    let changed = with("/metadata/labels/app", json!("y"));
    for name in [
        "kubernetes-admin",
        "system:serviceaccount:kube-system:other",
    ] {
        let user = json!({"username": name});
        assert!(policy.review(&user, &pod(), &changed).is_empty(), "{name}");
    }
}

#[test]
fn daemon_writes_policy_status_of_its_node_alone() {
    let policy = Policy(manifest("policy-status.yaml", "ValidatingAdmissionPolicy"));
    let own = json!({"metadata": {"name": "n1"}});
    let node = |name: &str| json!({"username": format!("system:multus:{name}")});
    for (before, after) in [(&Value::Null, &own), (&own, &own), (&own, &Value::Null)] {
        for user in [service_account("n1"), node("n1")] {
            assert!(policy.review(&user, before, after).is_empty(), "{user}");
        }
        let account = "system:serviceaccount:kube-system:cnidaria";
        for user in [
            service_account("n2"),
            node("n2"),
            node(""),
            json!({"username": account}),
        ] {
            let refused = policy.review(&user, before, after);
            assert_eq!(refused.len(), 1, "{user}: {refused:?}");
            assert!(refused[0].contains("own node alone"), "{refused:?}");
        }
        let operator = json!({"username": "kubernetes-admin"});
        assert!(policy.review(&operator, before, after).is_empty());
    }
    let binding = manifest("policy-status.yaml", "ValidatingAdmissionPolicyBinding");
    assert_eq!(binding["spec"]["policyName"], policy.0["metadata"]["name"]);
}
