//! Where the stages look things up.

use crate::domain::limits::Limits;
use crate::ports::{Cluster, DeviceInfo, Devices, NodeFiles};

/// The sources that a plan is resolved from.
#[derive(Clone, Copy)]
pub struct Lookups<'a> {
    /// Pods and NADs.
    pub cluster: &'a dyn Cluster,
    /// Finds the devices allocated to pods.
    pub devices: &'a dyn Devices,
    /// Locates device-info files.
    pub device_info: &'a dyn DeviceInfo,
    /// Conf files of the node.
    pub files: &'a dyn NodeFiles,
    /// Limits on what tenants may request.
    pub limits: &'a Limits,
}
