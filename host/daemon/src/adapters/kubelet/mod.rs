//! Asks this node's kubelet which devices it allocated to a pod, over its unix socket. Falls back
//! to its checkpoint file while the kubelet restarts, and on nodes where the socket is not
//! accessible.

mod checkpoint;
mod messages;
mod pod_resources;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use libcni::Root;

use cnidaria_core::domain::device::Allocation;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::ports::{Devices, DevicesError};
use pod_resources::PodResources;

/// How to reach the kubelet.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Path of the pod-resources socket on the node.
    pub socket: PathBuf,
    /// Path of the device checkpoint on the node.
    pub checkpoint: PathBuf,
    /// Timeout for its answer.
    pub patience: Duration,
    /// The node's root directory, if it is not the daemon's.
    pub root: Option<Root>,
}

/// The kubelet's device allocations. Connects only when asked.
#[derive(Debug)]
pub struct Kubelet {
    settings: Settings,
    pod_resources: PodResources,
}

impl Kubelet {
    /// Creates the adapter without connecting.
    pub fn new(settings: Settings) -> Self {
        let pod_resources = PodResources::new(settings.socket.clone(), settings.root.clone());
        Self {
            settings,
            pod_resources,
        }
    }

    async fn recorded_for(&self, pod: &PodRef) -> Result<Allocation, checkpoint::Error> {
        let (path, uid) = (self.settings.checkpoint.clone(), pod.uid.clone());
        let read = move || checkpoint::read(&path, &uid);
        let read = match &self.settings.root {
            Some(root) => root.run(read).await,
            None => tokio::task::spawn_blocking(read)
                .await
                .map_err(std::io::Error::other),
        };
        read?
    }
}

#[async_trait]
impl Devices for Kubelet {
    async fn allocated(&self, pod: &PodRef) -> Result<Allocation, DevicesError> {
        let asked = self.pod_resources.of_pod(pod, self.settings.patience).await;
        let error = match asked {
            Ok(allocation) => return Ok(allocation),
            Err(error) => cnidaria_core::report::chain(&error),
        };
        match self.recorded_for(pod).await {
            Ok(allocation) => {
                let socket = self.settings.socket.display();
                tracing::warn!(%pod, %socket, error, "the kubelet's socket cannot be used; reading the pod's devices from its checkpoint");
                Ok(allocation)
            }
            Err(checkpoint) => Err(DevicesError {
                pod: pod.clone(),
                socket: self.settings.socket.clone(),
                reason: error,
                checkpoint: self.settings.checkpoint.clone(),
                checkpoint_reason: cnidaria_core::report::chain(&checkpoint),
            }),
        }
    }
}
