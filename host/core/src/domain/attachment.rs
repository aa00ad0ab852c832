//! Attachments and the plan: the ordered networks of one sandbox, complete enough to ADD, CHECK and
//! DEL them without further lookups.

use std::net::IpAddr;

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;

use super::runtime_config::RuntimeConfig;
use super::sandbox::Sandbox;

/// The capability of delegates that read or write a device-info file.
pub(crate) const DEVICE_INFO_CAPABILITY: &str = "CNIDeviceInfoFile";

/// The longest file name in bytes (Linux's `NAME_MAX`).
pub(crate) const MAX_FILE_NAME: usize = 255;

/// One network, interface name and pod sandbox: what one delegate ADD creates.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The network's name in network-status and messages: `namespace/name` of the NAD, or the
    /// conf's name.
    pub network: String,
    /// The interface's name in the pod.
    pub if_name: IfName,
    /// Whether this is the pod's default network, whose result the runtime gets.
    pub is_default: bool,
    /// Whether the pod chose this default network itself, by annotation.
    pub is_chosen: bool,
    /// Index of the network after the select hook that it comes from, among those besides the
    /// default network; `None` for what that hook does not see, and for hot-plugged ones.
    pub selection: Option<usize>,
    /// The delegates' conf or conflist.
    pub conf: NetworkConfList,
    /// The pod's request: becomes capability arguments and `MAC` and `IP` of `CNI_ARGS`.
    pub request: RuntimeConfig,
    /// The CNI conf's settings for every attachment; `request` overrides them.
    pub base: RuntimeConfig,
    /// The runtime's `CNI_ARGS` for it: `MAC` and `IP` apply where `request` has none.
    pub args: CniArgs,
    /// The device allocated to the pod for this attachment; its id is also in the conf.
    pub device: Option<Device>,
    /// Path of the device-info file.
    pub device_info_file: Option<String>,
    /// Gateways on this network for the pod's default routes.
    pub default_route: Option<Vec<IpAddr>>,
    /// The IPAM claim that the attachment takes its addresses from.
    pub ipam_claim_reference: Option<String>,
}

/// A device allocated to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The resource it was allocated from.
    pub resource_name: String,
    /// Its id for delegates.
    pub id: String,
}

impl Attachment {
    /// The arguments of all capabilities, not yet filtered by those a plugin declares.
    pub fn capability_args(&self) -> RawObject {
        let mut arguments = self.arguments();
        if let Some(path) = &self.device_info_file {
            arguments.device_info_file = Some(path.clone());
        }
        arguments.capability_args()
    }

    fn arguments(&self) -> RuntimeConfig {
        let mut arguments = self.base.overridden_by(&self.request);
        // As in Multus, the default network gets an allocated device only through its conf.
        if self.is_default && self.device.is_some() {
            arguments.device_id.clone_from(&self.base.device_id);
        }
        arguments
    }

    /// The requested capabilities that no plugin declares, by name: requesting them has no effect.
    /// A MAC or a single address also goes into `CNI_ARGS`.
    pub(crate) fn untaken_requests(&self) -> Vec<&'static str> {
        let request = &self.request;
        let asked = [
            ("ips", request.ips.len() > 1),
            ("portMappings", !request.port_mappings.is_empty()),
            ("bandwidth", request.bandwidth.is_some()),
            ("infinibandGUID", request.infiniband_guid.is_some()),
            (
                "deviceID",
                request.device_id.is_some() && self.device.is_none(),
            ),
        ];
        let is_untaken = |capability: &str| {
            let mut plugins = self.conf.plugins().iter();
            !plugins.any(|plugin| plugin.has_capability(capability))
        };
        asked
            .into_iter()
            .filter(|(capability, is_asked)| *is_asked && is_untaken(capability))
            .map(|(capability, _)| capability)
            .collect()
    }

    /// Whether a device-info file may exist: the attachment has a device, or its delegates declare
    /// the capability (device-info specification 1.1, section 5.1.1).
    pub(crate) fn describes_device(&self) -> bool {
        let mut plugins = self.conf.plugins().iter();
        self.device.is_some()
            || self.arguments().device_id.is_some()
            || plugins.any(|plugin| plugin.has_capability(DEVICE_INFO_CAPABILITY))
    }
}

/// The name of an attachment's device-info file, as in Multus.
pub fn device_info_name(network: &str, container: &ContainerId, if_name: &IfName) -> String {
    format!("{network}-{container}_{if_name}")
}

/// Length in bytes of the name of an attachment's result file: `network-container-interface`.
pub fn result_name_len(network: &NetworkName, container: &ContainerId, if_name: &IfName) -> usize {
    network.as_str().len() + container.as_str().len() + if_name.as_str().len() + "--".len()
}

/// The ordered attachments of one sandbox. The first is the default network.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sandbox of all attachments.
    pub sandbox: Sandbox,
    /// In ADD order; DEL uses the reverse.
    pub attachments: Vec<Attachment>,
}

/// The default interface name at `position` of the plan. Positions include the default network, as
/// in Multus.
pub fn interface_at(position: usize) -> IfName {
    IfName::new(format!("net{position}"))
        .expect("a plan has few enough attachments for the name to fit")
}
