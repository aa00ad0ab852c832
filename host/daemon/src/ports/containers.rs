//! Pods of containers whose runtimes know nothing of Kubernetes.

use crate::domain::container_names::ContainerNames;
use crate::domain::pod::Pod;

/// Finds a container's pod by less than a namespace and a name. Only a node without a cluster does so.
pub trait ContainerPods: Send + Sync {
    /// The pod that is described under the first of these names; else one with the container's own
    /// name, as the default for all containers describes it. Never waits.
    fn pod_of(&self, names: &ContainerNames) -> Option<Pod>;
}
