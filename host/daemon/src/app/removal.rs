//! Tells on SIGTERM whether the daemon is being uninstalled or only restarted: by its DaemonSet.

use std::sync::OnceLock;
use std::time::Duration;

use cnidaria_kube::{Client, DaemonSet};
use config::own::DaemonSetName;

/// How long a daemon that is ending waits for the API server. Calls are served meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one attempt at start takes, and the pause before the next.
const ATTEMPT: Duration = Duration::from_secs(60);
/// The namespace of the service account, as the kubelet mounts it.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
const DEFAULT_NAMESPACE: &str = "kube-system";

/// The DaemonSet of this daemon.
pub(super) struct Removal {
    client: Client,
    namespace: String,
    name: String,
    /// What was found while it ran the daemon.
    before: OnceLock<DaemonSet>,
}

impl Removal {
    pub(super) fn of(client: Client, daemon_set: &DaemonSetName) -> Self {
        let namespace = daemon_set.namespace.clone().unwrap_or_else(|| {
            let namespace = std::fs::read_to_string(NAMESPACE_FILE).unwrap_or_default();
            match namespace.trim() {
                "" => DEFAULT_NAMESPACE.to_owned(),
                namespace => namespace.to_owned(),
            }
        });
        Self {
            client,
            namespace,
            name: daemon_set.name.clone(),
            before: OnceLock::new(),
        }
    }

    /// Finds out whether the DaemonSet can be read, and warns if not. Retries while the API server
    /// cannot be reached.
    pub(super) async fn watch(&self) {
        loop {
            let found = self.ask(ATTEMPT).await;
            if matches!(found, DaemonSet::Unknown(_)) {
                tokio::time::sleep(ATTEMPT).await;
                continue;
            }
            let (namespace, name) = (&self.namespace, &self.name);
            match self.before.get_or_init(|| found) {
                DaemonSet::Refused(reason) => tracing::warn!(
                    namespace,
                    name,
                    reason,
                    "daemonSet cannot be read; the runtime's conf stays when this daemon is uninstalled"
                ),
                DaemonSet::Deleted => tracing::warn!(
                    namespace,
                    name,
                    "daemonSet cannot be read: it does not exist; the runtime's conf stays when this daemon is uninstalled"
                ),
                _ => tracing::info!(namespace, name, "found the DaemonSet of this daemon"),
            }
            return;
        }
    }

    /// Whether the daemon ends because it is uninstalled. In doubt it is not.
    pub(super) async fn is_uninstalled(&self) -> bool {
        let state = self.ask(PATIENCE).await;
        let is_uninstalled = means_removal(self.before.get(), &state);
        tracing::info!(
            namespace = self.namespace,
            name = self.name,
            ?state,
            is_uninstalled,
            "asked for the DaemonSet of this daemon"
        );
        is_uninstalled
    }

    async fn ask(&self, patience: Duration) -> DaemonSet {
        let asked = self
            .client
            .daemon_set(&self.namespace, &self.name, patience);
        match tokio::time::timeout(patience, asked).await {
            Ok(state) => state,
            Err(_) => DaemonSet::Unknown("no answer in time".to_owned()),
        }
    }
}

/// What a DaemonSet's state means for its daemon, which found it `before`.
fn means_removal(before: Option<&DaemonSet>, state: &DaemonSet) -> bool {
    match state {
        // If it did not exist before either, its name is wrong.
        DaemonSet::Deleted => before != Some(&DaemonSet::Deleted),
        // The service account or the roles are deleted with it.
        DaemonSet::Refused(_) => before == Some(&DaemonSet::Present),
        DaemonSet::Present | DaemonSet::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_doubt_a_daemon_is_only_restarted() {
        use DaemonSet::{Deleted, Present};
        let refused = DaemonSet::Refused("403".to_owned());
        let unknown = DaemonSet::Unknown("away".to_owned());
        let removes = |before: Option<&DaemonSet>, state| means_removal(before, state);
        assert!(removes(Some(&Present), &Deleted));
        assert!(removes(None, &Deleted), "the server was away until now");
        assert!(!removes(Some(&Deleted), &Deleted), "a wrong name");
        assert!(removes(Some(&Present), &refused), "its roles are deleted");
        assert!(
            !removes(Some(&refused), &refused),
            "roles of an older version"
        );
        assert!(!removes(None, &refused));
        assert!(!removes(Some(&Present), &Present));
        assert!(!removes(Some(&Present), &unknown));
    }
}
