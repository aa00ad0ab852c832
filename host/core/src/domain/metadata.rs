//! Labels and annotations of Kubernetes objects.

use std::collections::BTreeMap;

/// Labels and annotations of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}
