//! The `NetworkAttachmentDefinition`, trimmed to what resolving a network needs.

use std::collections::BTreeMap;

/// The annotation that names the resource of which each attachment needs a device.
const RESOURCE_NAME_ANNOTATION: &str = "k8s.v1.cni.cncf.io/resourceName";

/// A network attachment definition (`k8s.cni.cncf.io/v1`, multi-network specification 1.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nad {
    /// Namespace of the definition.
    pub namespace: String,
    /// Name of the definition; the name of the conf file where `config` is empty.
    pub name: String,
    /// `spec.config`: JSON text of a CNI conf or conflist.
    pub config: Option<String>,
    /// Annotations, for `k8s.v1.cni.cncf.io/resourceName`.
    pub annotations: BTreeMap<String, String>,
}

impl Nad {
    /// The resource of which each attachment to this network is given a device.
    pub fn resource_name(&self) -> Option<&str> {
        self.annotations
            .get(RESOURCE_NAME_ANNOTATION)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }
}
