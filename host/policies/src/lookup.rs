//! Answers the lookups of policies with grants from the cluster adapter's caches.

use std::fmt;
use std::sync::Arc;

use policy_engine::Needs;

use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::ports::Cluster;

/// Lets the policy engine read the cluster's caches.
pub struct Lookup {
    cluster: Arc<dyn Cluster>,
    node_name: String,
}

impl Lookup {
    /// Looks up in `cluster`, for the node of this name.
    pub fn new(cluster: Arc<dyn Cluster>, node_name: String) -> Self {
        Self { cluster, node_name }
    }

    fn node(&self) -> Option<Metadata> {
        self.cluster.node(&self.node_name)
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl policy_engine::Cluster for Lookup {
    fn needed(&self, needs: Needs) {
        if needs.namespaces {
            self.cluster.remember_namespaces();
        }
        if needs.node {
            self.cluster.remember_node(&self.node_name);
        }
    }

    fn namespace_label(&self, namespace: &str, key: &str) -> Option<String> {
        self.cluster.namespace(namespace)?.labels.remove(key)
    }

    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String> {
        self.cluster.namespace(namespace)?.annotations.remove(key)
    }

    fn nad_conf(&self, namespace: &str, name: &str) -> Option<String> {
        self.cluster.remembered_nad(namespace, name)?.config
    }

    fn nad_annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        let nad = self.cluster.remembered_nad(namespace, name);
        nad?.annotations.remove(key)
    }

    fn node_label(&self, key: &str) -> Option<String> {
        self.node()?.labels.remove(key)
    }

    fn node_annotation(&self, key: &str) -> Option<String> {
        self.node()?.annotations.remove(key)
    }
}
