//! Attachments and the plan: the ordered networks of one sandbox, complete enough to ADD, CHECK and
//! DEL them without asking anybody.

use std::net::IpAddr;

use cni_types::args::IfName;
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;

use super::runtime_config::RuntimeConfig;
use super::sandbox::Sandbox;

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
    /// The device plugin's resource that `request.device_id` was allocated from.
    pub resource_name: Option<String>,
    /// Gateways that the pod wants its default route to go through, by this network.
    pub default_route: Option<Vec<IpAddr>>,
    /// IPAM claim that the attachment takes its addresses from.
    pub ipam_claim_reference: Option<String>,
}

impl Attachment {
    /// The arguments of all capabilities, before the conf says which of them a plugin has. The
    /// default network does not get what a pod may ask of the others.
    pub fn capability_args(&self) -> RawObject {
        if self.is_default {
            self.base.capability_args()
        } else {
            self.base.overridden_by(&self.request).capability_args()
        }
    }
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
