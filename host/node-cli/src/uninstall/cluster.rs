//! Deletes the DaemonSet after its pods, so that each daemon still has its rights when it finds out
//! that it is uninstalled. The chart does this before it deletes anything else.

use std::error::Error;
use std::time::Duration;

use cnidaria_kube::Client;
use config::daemon::DaemonConfig;
use config::own::DaemonSetName;

use crate::Output;

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let deleting = async {
        let client = Client::new(access);
        client.delete_daemon_set(namespace, name, patience).await
    };
    runtime.block_on(deleting)?;
    Ok(Output {
        text: format!("DaemonSet {namespace}/{name} and its pods are deleted\n"),
        code: 0,
    })
}
