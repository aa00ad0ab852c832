//! What the cluster has of the installation: deletes the DaemonSet after its pods, so that each daemon still has its rights when it finds out
//! that it is uninstalled. The chart does this before it deletes anything else.

use std::error::Error;
use std::time::Duration;

use cnidaria_kube::Client;
use config::daemon::DaemonConfig;
use config::own::DaemonSetName;

use crate::Output;
use crate::doctor::node_name;

/// How long the API server may take to delete an object of this node.
const PATIENCE: Duration = Duration::from_secs(5);

/// Deletes what the cluster shows of this node's policies, and says if it cannot; nothing waits for
/// it.
pub(super) fn delete_policy_status(config: &DaemonConfig) -> String {
    let own = &config.own;
    let is_shown = own.policies.as_ref().is_some_and(|one| one.node_status);
    if !is_shown || own.manifests.is_some() {
        return String::new();
    }
    let node = node_name(config);
    let variable = |name: &str| std::env::var(name).ok();
    let Some(access) = config.api_server.access(&node, variable) else {
        return String::new();
    };
    let deleting = async {
        let client = Client::new(access);
        client.delete_policy_status(&node, PATIENCE).await
    };
    let failed = |error: &dyn Error| format!("PolicyNodeStatus {node} stays: {error}\n");
    match runtime() {
        Ok(runtime) => match runtime.block_on(deleting) {
            Ok(()) => String::new(),
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Deletes the DaemonSet and waits until all its pods have ended.
pub(super) fn delete(
    config: &DaemonConfig,
    daemon_set: &DaemonSetName,
    patience: Duration,
) -> Result<Output, Box<dyn Error>> {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(access) = config.api_server.access("", variable) else {
        return Err(
            "no cluster: this is not a pod, and the configuration has no kubeconfig".into(),
        );
    };
    let namespace = daemon_set.namespace.as_deref().unwrap_or("kube-system");
    let name = &daemon_set.name;
    let deleting = async {
        let client = Client::new(access);
        client.delete_daemon_set(namespace, name, patience).await
    };
    runtime()?.block_on(deleting)?;
    Ok(Output {
        text: format!("DaemonSet {namespace}/{name} and its pods are deleted\n"),
        code: 0,
    })
}
