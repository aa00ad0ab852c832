//! Allocated devices of pods, and the files that describe them.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::domain::device::Allocation;
use crate::domain::pod::PodRef;

/// The kubelet, which allocates devices of device plugins to containers.
#[async_trait]
pub trait Devices: Send + Sync {
    /// The devices allocated to a pod's containers. Called at most once per request, and only if
    /// one of the pod's networks needs a device.
    ///
    /// # Errors
    /// [`DevicesError`] if neither the socket nor the checkpoint can tell.
    async fn allocated(&self, pod: &PodRef) -> Result<Allocation, DevicesError>;
}

/// A pod's devices could not be determined.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot determine the devices of pod {pod}: {socket}: {reason}; {checkpoint}: {checkpoint_reason}"
)]
pub struct DevicesError {
    /// The pod whose devices were requested.
    pub pod: PodRef,
    /// The kubelet's socket.
    pub socket: PathBuf,
    /// Why the socket is of no use.
    pub reason: String,
    /// The kubelet's checkpoint file.
    pub checkpoint: PathBuf,
    /// Why the checkpoint is of no use.
    pub checkpoint_reason: String,
}

/// The files in which device plugins and delegates describe devices (device-info specification
/// 1.1).
#[async_trait]
pub trait DeviceInfo: Send + Sync {
    /// Path of an attachment's device-info file, as the delegates see it. `name` is unique on the
    /// node.
    fn path(&self, name: &str) -> String;

    /// Reads an attachment's device info (a JSON object) after its ADD, for network-status. `None`
    /// without a file; an unusable file is logged and ignored.
    async fn read(&self, path: &str) -> Option<Box<RawValue>>;
}
