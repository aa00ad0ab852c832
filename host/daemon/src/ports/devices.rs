//! Devices of pods: what was allocated, and what is said of them.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::domain::device::Allocation;
use crate::domain::pod::PodRef;

/// The kubelet, as far as it allocates devices of device plugins to containers.
#[async_trait]
pub trait Devices: Send + Sync {
    /// What was allocated to the containers of a pod. Asked once a request, and only for a pod of
    /// which a network needs a device.
    ///
    /// # Errors
    /// [`DevicesError`] when nobody tells.
    async fn allocated(&self, pod: &PodRef) -> Result<Allocation, DevicesError>;
}

/// Nobody tells which devices a pod has.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kubelet does not tell which devices pod {pod} has: {socket}: {reason}; {checkpoint}: {checkpoint_reason}"
)]
pub struct DevicesError {
    /// The pod.
    pub pod: PodRef,
    /// The kubelet's socket.
    pub socket: PathBuf,
    /// Why it is of no use.
    pub reason: String,
    /// The kubelet's checkpoint file.
    pub checkpoint: PathBuf,
    /// Why that is of no use either.
    pub checkpoint_reason: String,
}

/// The files in which device plugins and delegates describe devices (device-info specification 1.1).
#[async_trait]
pub trait DeviceInfo: Send + Sync {
    /// Where the delegates of an attachment find, or leave, what is said of its device: a path as
    /// delegates have it. `name` is unique on the node.
    fn path(&self, name: &str) -> String;

    /// What the file of an attachment says after its ADD, for network-status: a JSON object.
    /// `None` where there is none, or none that can be used, which is logged.
    async fn read(&self, path: &str) -> Option<Box<RawValue>>;
}
