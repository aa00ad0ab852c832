//! Pods of containers whose runtimes do not know Kubernetes.

use async_trait::async_trait;

use crate::domain::container_names::ContainerNames;
use crate::domain::pod::Pod;

/// Finds a container's pod from less than a namespace and a name; only used without a cluster.
#[async_trait]
pub trait ContainerPods: Send + Sync {
    /// The pod described under the first matching name; else a pod with the container's own name
    /// and the description that applies to all containers. Sees every manifest written before the
    /// call.
    async fn pod_of(&self, names: &ContainerNames) -> Option<Pod>;
}
