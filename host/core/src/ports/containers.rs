//! Pods of containers whose runtimes do not know Kubernetes.

use crate::domain::container_names::ContainerNames;
use crate::domain::pod::Pod;

/// Finds a container's pod from less than a namespace and a name; only used without a cluster.
pub trait ContainerPods: Send + Sync {
    /// The pod described under the first matching name; else a pod with the container's own name
    /// and the description that applies to all containers. Never waits.
    fn pod_of(&self, names: &ContainerNames) -> Option<Pod>;
}
