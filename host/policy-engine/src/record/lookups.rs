//! Notes what policies look up in the cluster.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::model::outside::{Question, lookup, lookup_all};
use crate::model::ports::{Cluster, Needs, NodeAttachment};

/// Lookups in a cluster that are noted, or answered from a record.
#[derive(Debug)]
pub(crate) struct Noting(pub(crate) Option<Arc<dyn Cluster>>);

impl Noting {
    fn live(&self, ask: impl FnOnce(&dyn Cluster) -> Option<String>) -> Option<String> {
        ask(self.0.as_deref()?)
    }

    fn all_live(
        &self,
        ask: impl FnOnce(&dyn Cluster) -> BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        self.0.as_deref().map(ask).unwrap_or_default()
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

    fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        lookup_all(Question::NamespaceLabels(namespace), || {
            self.all_live(|cluster| cluster.namespace_labels(namespace))
        })
    }

    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String> {
        lookup(Question::NamespaceAnnotation(namespace, key), || {
            self.live(|cluster| cluster.namespace_annotation(namespace, key))
        })
    }

    fn namespace_annotations(&self, namespace: &str) -> BTreeMap<String, String> {
        lookup_all(Question::NamespaceAnnotations(namespace), || {
            self.all_live(|cluster| cluster.namespace_annotations(namespace))
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

    fn nad_annotations(&self, namespace: &str, name: &str) -> BTreeMap<String, String> {
        lookup_all(Question::NadAnnotations(namespace, name), || {
            self.all_live(|cluster| cluster.nad_annotations(namespace, name))
        })
    }

    /// Noted where a guest asks for them.
    fn attachments(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, NodeAttachment<'_>) -> ControlFlow<()>,
    ) -> bool {
        let cluster = self.0.as_deref();
        cluster.is_some_and(|cluster| cluster.attachments(after, visit))
    }

    fn node_label(&self, key: &str) -> Option<String> {
        lookup(Question::NodeLabel(key), || {
            self.live(|cluster| cluster.node_label(key))
        })
    }

    fn node_labels(&self) -> BTreeMap<String, String> {
        lookup_all(Question::NodeLabels, || {
            self.all_live(|cluster| cluster.node_labels())
        })
    }

    fn node_annotation(&self, key: &str) -> Option<String> {
        lookup(Question::NodeAnnotation(key), || {
            self.live(|cluster| cluster.node_annotation(key))
        })
    }

    fn node_annotations(&self) -> BTreeMap<String, String> {
        lookup_all(Question::NodeAnnotations, || {
            self.all_live(|cluster| cluster.node_annotations())
        })
    }
}
