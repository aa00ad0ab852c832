//! The requests of a simulated runtime.

use std::time::Duration;

use cnidaria_core::conf::timeouts::Timeouts;
use serde_json::{Value, json};

use super::World;

/// The name of the default network.
pub(super) const DEFAULT_NETWORK: &str = "default";

/// The only file of a simulated node: the conf of the default network.
pub(super) const DEFAULT_CONF: &str = "/simulated/default.conf";

/// A request of the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuntimeCall {
    /// For one sandbox.
    Pod {
        /// ADD, CHECK or DEL.
        verb: Verb,
        /// The container id of the sandbox.
        container: String,
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        name: String,
    },
    /// GC, with the sandboxes that are in use.
    Gc(Vec<String>),
    /// STATUS.
    Status,
}

/// The verb of a request for one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Attach.
    Add,
    /// Check.
    Check,
    /// Detach.
    Del,
}

impl RuntimeCall {
    /// The body of `POST /cni`.
    pub(super) fn body(&self, conf: &str, world: &World) -> Vec<u8> {
        let (verb, container, args) = match self {
            Self::Pod {
                verb,
                container,
                namespace,
                name,
            } => {
                let verb = match verb {
                    Verb::Add => "ADD",
                    Verb::Check => "CHECK",
                    Verb::Del => "DEL",
                };
                let args = format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={container}"
                );
                (verb, container.as_str(), args)
            }
            Self::Gc(_) => ("GC", "", String::new()),
            Self::Status => ("STATUS", "", String::new()),
        };
        let mut env = vec![
            ("CNI_COMMAND".to_owned(), verb.to_owned()),
            ("CNI_PATH".to_owned(), "/opt/cni/bin".to_owned()),
        ];
        if !container.is_empty() {
            env.push(("CNI_CONTAINERID".to_owned(), container.to_owned()));
            env.push(("CNI_NETNS".to_owned(), format!("/run/netns/{container}")));
            env.push(("CNI_IFNAME".to_owned(), "eth0".to_owned()));
            env.push(("CNI_ARGS".to_owned(), args));
        }
        let config = match self {
            Self::Gc(containers) => with_valid(conf, containers, world),
            Self::Pod { .. } | Self::Status => conf.to_owned(),
        };
        shim_api::Request {
            env: env.into_iter().collect(),
            config: config.into_bytes(),
            interface_attributes: None,
        }
        .to_json()
    }
}

/// The shim's conf with the attachments in use.
fn with_valid(conf: &str, containers: &[String], world: &World) -> String {
    let recorded = world.recorded.lock();
    let valid: Vec<Value> = containers
        .iter()
        .filter(|container| recorded.contains_key(*container))
        .map(|container| json!({"containerID": container, "ifname": "eth0"}))
        .collect();
    let mut conf: Value = serde_json::from_str(conf).unwrap_or_default();
    if let Some(members) = conf.as_object_mut() {
        members.insert("cni.dev/valid-attachments".to_owned(), Value::Array(valid));
    }
    conf.to_string()
}

/// The conf of the default network.
pub(super) fn default_network(given: Option<&str>) -> Value {
    let mut default: Value = given
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| json!({"cniVersion": "1.0.0", "type": "bridge"}));
    if let Some(members) = default.as_object_mut() {
        let name = || json!(DEFAULT_NETWORK);
        members.entry("name").or_insert_with(name);
        members
            .entry("cniVersion")
            .or_insert_with(|| json!("1.0.0"));
    }
    default
}

/// The shim's conf with the default network, and the networks that the node gives to every pod.
pub(super) fn conf(default: &Value, default_networks: &[String]) -> String {
    let mut conf = json!({
        "cniVersion": "1.1.0",
        "name": "cnidaria",
        "type": "cnidaria-shim",
    });
    if let Some(members) = conf.as_object_mut() {
        // With `delegates`, `defaultNetworks` has no effect.
        match default_networks {
            [] => members.insert("delegates".to_owned(), json!([default])),
            names => {
                members.insert("clusterNetwork".to_owned(), json!(DEFAULT_CONF));
                members.insert("defaultNetworks".to_owned(), json!(names))
            }
        };
    }
    conf.to_string()
}

/// Timeouts that do not count: nothing here waits.
pub(super) fn timeouts() -> Timeouts {
    Timeouts {
        pod: Duration::ZERO,
        ..Timeouts::default()
    }
}
