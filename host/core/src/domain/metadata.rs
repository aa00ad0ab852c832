//! Labels and annotations of Kubernetes objects.

use std::collections::BTreeMap;

/// Labels and annotations of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}
