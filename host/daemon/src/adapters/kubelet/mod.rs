//! The kubelet of this node: which devices it allocated to a pod. It answers on a unix socket; what
//! it answers from is also in a file, which is there while the kubelet restarts, and on nodes where
//! nobody may connect.

mod checkpoint;
mod grpc;
mod messages;
mod pod_resources;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use libcni::Root;

use crate::domain::device::Allocation;
use crate::domain::pod::PodRef;
use crate::ports::{Devices, DevicesError};
use pod_resources::PodResources;

/// Where the kubelet is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its socket for pod resources, as the node has it.
    pub socket: PathBuf,
    /// Its checkpoint of devices, as the node has it.
    pub checkpoint: PathBuf,
    /// How long its answer is waited for.
    pub patience: Duration,
    /// The node's root where that is not the daemon's.
    pub root: Option<Root>,
}

/// The kubelet. Nothing is opened before somebody asks.
#[derive(Debug)]
pub struct Kubelet {
    settings: Settings,
    pod_resources: PodResources,
}

impl Kubelet {
    /// Connects to nobody yet.
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
            Err(error) => crate::report::chain(&error),
        };
        match self.recorded_for(pod).await {
            Ok(allocation) => {
                let socket = self.settings.socket.display();
                tracing::warn!(%pod, %socket, error, "devices are taken from the kubelet's checkpoint");
                Ok(allocation)
            }
            Err(checkpoint) => Err(DevicesError {
                pod: pod.clone(),
                socket: self.settings.socket.clone(),
                reason: error,
                checkpoint: self.settings.checkpoint.clone(),
                checkpoint_reason: crate::report::chain(&checkpoint),
            }),
        }
    }
}
