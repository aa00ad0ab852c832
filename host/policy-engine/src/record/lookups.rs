//! Notes what policies look up in the cluster.

use std::sync::Arc;

use crate::model::outside::{Question, lookup};
use crate::model::ports::{Cluster, Needs};

/// Lookups in a cluster that are noted, or answered from a record.
#[derive(Debug)]
pub(crate) struct Noting(pub(crate) Option<Arc<dyn Cluster>>);

impl Noting {
    fn live(&self, ask: impl FnOnce(&dyn Cluster) -> Option<String>) -> Option<String> {
        ask(self.0.as_deref()?)
    }
}

impl Cluster for Noting {
    fn needed(&self, needs: Needs) {
        if let Some(cluster) = &self.0 {
            cluster.needed(needs);
        }
    }

    fn namespace_label(&self, namespace: &str, key: &str) -> Option<String> {
        lookup(Question::NamespaceLabel(namespace, key), || {
            self.live(|cluster| cluster.namespace_label(namespace, key))
        })
    }

    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String> {
        lookup(Question::NamespaceAnnotation(namespace, key), || {
            self.live(|cluster| cluster.namespace_annotation(namespace, key))
        })
    }

    fn nad_conf(&self, namespace: &str, name: &str) -> Option<String> {
        lookup(Question::NadConf(namespace, name), || {
            self.live(|cluster| cluster.nad_conf(namespace, name))
        })
    }

    fn nad_annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        lookup(Question::NadAnnotation(namespace, name, key), || {
            self.live(|cluster| cluster.nad_annotation(namespace, name, key))
        })
    }

    fn node_label(&self, key: &str) -> Option<String> {
        lookup(Question::NodeLabel(key), || {
            self.live(|cluster| cluster.node_label(key))
        })
    }

    fn node_annotation(&self, key: &str) -> Option<String> {
        lookup(Question::NodeAnnotation(key), || {
            self.live(|cluster| cluster.node_annotation(key))
        })
    }
}
