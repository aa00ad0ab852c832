//! Attachments and the plan: the ordered networks of one sandbox, complete enough to ADD, CHECK and
//! DEL them without asking anybody.

use std::net::IpAddr;

use cni_types::args::{ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;

use super::runtime_config::RuntimeConfig;
use super::sandbox::Sandbox;

/// The capability of delegates that read or write what is said of a device.
pub const DEVICE_INFO_CAPABILITY: &str = "CNIDeviceInfoFile";

/// One network, interface name and pod sandbox: what one delegate ADD creates.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// What network-status and messages call the network: `namespace/name` of the NAD, or the name
    /// of the conf.
    pub network: String,
    /// Name of the interface in the pod.
    pub if_name: IfName,
    /// Whether this is the pod's default network, whose result is the answer to the runtime.
    pub is_default: bool,
    /// The conf or conflist that the delegates get.
    pub conf: NetworkConfList,
    /// What the pod asked for: becomes capability arguments and `MAC` and `IP` of `CNI_ARGS`.
    pub request: RuntimeConfig,
    /// What the CNI conf of the daemon says for every attachment; `request` wins over it.
    pub base: RuntimeConfig,
    /// The device that was allocated to the pod for this attachment. The conf has it, too.
    pub device: Option<Device>,
    /// Where the delegates find, or leave, what is said of the device.
    pub device_info_file: Option<String>,
    /// Gateways that the pod wants its default route to go through, by this network.
    pub default_route: Option<Vec<IpAddr>>,
    /// IPAM claim that the attachment takes its addresses from.
    pub ipam_claim_reference: Option<String>,
}

/// A device that was allocated to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The resource that it was allocated from.
    pub resource_name: String,
    /// The id by which delegates know it.
    pub id: String,
}

impl Attachment {
    /// The arguments of all capabilities, before the conf says which of them a plugin has.
    pub fn capability_args(&self) -> RawObject {
        let mut arguments = self.arguments();
        if let Some(path) = &self.device_info_file {
            arguments.device_info_file = Some(path.clone());
        }
        arguments.capability_args()
    }

    fn arguments(&self) -> RuntimeConfig {
        let mut arguments = self.base.overridden_by(&self.request);
        // As in Multus, the default network has an allocated device in its conf alone.
        if self.is_default && self.device.is_some() {
            arguments.device_id.clone_from(&self.base.device_id);
        }
        arguments
    }

    /// Capabilities that were asked for, by their names, and that no plugin declares: the request has
    /// no effect. A single address, or a hardware address, also goes into `CNI_ARGS`.
    pub fn untaken_requests(&self) -> Vec<&'static str> {
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

    /// Whether something may be said of a device: the attachment has one, or its delegates say that
    /// they describe what they make (device-info specification 1.1, section 5.1.1).
    pub fn describes_device(&self) -> bool {
        let mut plugins = self.conf.plugins().iter();
        self.device.is_some()
            || self.arguments().device_id.is_some()
            || plugins.any(|plugin| plugin.has_capability(DEVICE_INFO_CAPABILITY))
    }
}

/// What the file is called in which the device of an attachment is described, as Multus calls it.
pub fn device_info_name(network: &str, container: &ContainerId, if_name: &IfName) -> String {
    format!("{network}-{container}_{if_name}")
}

/// The ordered attachments of one sandbox. The first is the default network.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the attachments are put into.
    pub sandbox: Sandbox,
    /// In the order in which they are added; DEL goes backwards.
    pub attachments: Vec<Attachment>,
}

/// The interface name of the attachment at `position` of the plan where the pod asked for none. The
/// count includes the default network, as Multus counts.
pub fn interface_at(position: usize) -> IfName {
    IfName::new(format!("net{position}"))
        .expect("a plan has few enough attachments for the name to fit")
}
