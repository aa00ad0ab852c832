//! Answers the lookups of policies with grants from the cluster adapter's caches.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use policy_engine::{Needs, NodeAttachment};

use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::ports::{Cluster, Standing};

/// Lets the policy engine read the cluster's caches.
pub struct Lookup {
    cluster: Arc<dyn Cluster>,
    node_name: String,
    standing: Option<Arc<dyn Standing>>,
}

impl Lookup {
    /// Looks up in `cluster`, for the node of this name.
    pub fn new(cluster: Arc<dyn Cluster>, node_name: String) -> Self {
        Self {
            cluster,
            node_name,
            standing: None,
        }
    }

    /// Looks up the node's attachments, too.
    #[must_use]
    pub fn with_standing(self, standing: Arc<dyn Standing>) -> Self {
        Self {
            standing: Some(standing),
            ..self
        }
    }

    fn namespace(&self, name: &str) -> Metadata {
        self.cluster.namespace(name).unwrap_or_default()
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
        if let Some(standing) = &self.standing {
            standing.keep(needs.attachments);
        }
    }

    fn namespace_label(&self, namespace: &str, key: &str) -> Option<String> {
        self.cluster.namespace(namespace)?.labels.remove(key)
    }

    fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        self.namespace(namespace).labels
    }

    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String> {
        self.cluster.namespace(namespace)?.annotations.remove(key)
    }

    fn namespace_annotations(&self, namespace: &str) -> BTreeMap<String, String> {
        self.namespace(namespace).annotations
    }

    fn nad_conf(&self, namespace: &str, name: &str) -> Option<String> {
        self.cluster.remembered_nad(namespace, name)?.config
    }

    fn nad_annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        let nad = self.cluster.remembered_nad(namespace, name);
        nad?.annotations.remove(key)
    }

    fn nad_annotations(&self, namespace: &str, name: &str) -> BTreeMap<String, String> {
        let nad = self.cluster.remembered_nad(namespace, name);
        nad.map(|nad| nad.annotations).unwrap_or_default()
    }

    fn attachments(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, NodeAttachment<'_>) -> ControlFlow<()>,
    ) -> bool {
        let Some(standing) = &self.standing else {
            return false;
        };
        standing.visit(after, &mut |key, one| {
            let shown = NodeAttachment {
                container_id: &one.container_id,
                namespace: &one.pod.namespace,
                pod: &one.pod.name,
                network: &one.network,
                if_name: &one.if_name,
                ips: &one.ips,
                mac: one.mac.as_deref(),
                tags: &one.tags,
            };
            visit(key, shown)
        })
    }

    fn node_label(&self, key: &str) -> Option<String> {
        self.node()?.labels.remove(key)
    }

    fn node_labels(&self) -> BTreeMap<String, String> {
        self.node().unwrap_or_default().labels
    }

    fn node_annotation(&self, key: &str) -> Option<String> {
        self.node()?.annotations.remove(key)
    }

    fn node_annotations(&self) -> BTreeMap<String, String> {
        self.node().unwrap_or_default().annotations
    }
}
