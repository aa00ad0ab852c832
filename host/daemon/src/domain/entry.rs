//! An attachment as the ledger has it: exactly what its delegates were, and will be, given. Made
//! after the policies, so that what a policy says later changes nothing for CHECK and DEL.

use std::borrow::Cow;

use cni_types::args::{CniArgs, ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;
use cni_types::result::CniResult;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::attachment::{Attachment, DEVICE_INFO_CAPABILITY, Device};
use super::namespace::Namespace;
use super::pod::PodRef;
use super::sandbox::Sandbox;

/// One recorded attachment.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The sandbox that the attachment is in.
    pub container_id: ContainerId,
    /// Path of the network namespace; `None` where it is not known, empty where it is gone.
    pub netns: Option<String>,
    /// Which namespace was at that path at ADD; `None` where Multus or an older daemon wrote the entry.
    pub namespace: Option<Namespace>,
    /// The pod that the sandbox is for; its names are empty where the ledger does not tell.
    pub pod: PodRef,
    /// The network, as network-status calls it.
    pub network: String,
    /// Name of the interface in the pod.
    pub if_name: IfName,
    /// Whether it is the default network of the pod.
    pub is_default: bool,
    /// The conf or conflist that the delegates get.
    pub conf: NetworkConfList,
    /// `CNI_ARGS` of the delegates.
    pub cni_args: CniArgs,
    /// Arguments of all capabilities; each plugin gets those that its conf declares.
    pub capability_args: RawObject,
    /// The device that was allocated to the pod for it; the conf has its id, too.
    pub device: Option<Device>,
    /// What the delegates answered, once they did.
    pub result: Option<CniResult>,
    /// Where the ADD ended that gave no result; `None` where it gave one, or is not known to have ended.
    pub failed_add: Option<FailedAdd>,
}

/// Where in its chain an ADD failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedAdd {
    /// Place of the plugin in the chain, from 0. Those before it succeeded, those after it never ran.
    pub plugin: usize,
    /// Whether the plugin answered with an error, and did not hang, crash or print garbage.
    pub refused: bool,
    /// Whether the plugin began at all.
    #[serde(default = "begun")]
    pub started: bool,
    /// The result of the plugins before it, for the DEL; in the conf's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub so_far: Option<Box<RawValue>>,
}

/// What records of a daemon say that did not tell.
fn begun() -> bool {
    true
}

impl Entry {
    /// What the delegates of `attachment` are given.
    ///
    /// # Errors
    /// A value that cannot stand in `CNI_ARGS`.
    pub fn new(attachment: &Attachment, sandbox: &Sandbox) -> Result<Self, cni_types::args::Error> {
        let none = CniArgs::new();
        let more = match attachment.is_default {
            true => &sandbox.args,
            false => &none,
        };
        Ok(Self {
            container_id: sandbox.container_id.clone(),
            netns: sandbox.netns.clone(),
            namespace: sandbox.namespace.clone(),
            pod: sandbox.pod.clone(),
            network: attachment.network.clone(),
            if_name: attachment.if_name.clone(),
            is_default: attachment.is_default,
            conf: attachment.conf.clone(),
            cni_args: attachment.request.cni_args(sandbox, more)?,
            capability_args: attachment.capability_args(),
            device: attachment.device.clone(),
            result: None,
            failed_add: None,
        })
    }

    /// Whether the failing DEL of the plugin at this place leaves nothing behind: its ADD never ran, or
    /// it answered the ADD with an error and now the DEL as well. `answered` says so of the DEL.
    pub fn made_nothing(&self, plugin: usize, answered: bool) -> bool {
        match (&self.result, &self.failed_add) {
            (None, Some(failed)) => {
                plugin > failed.plugin
                    || (plugin == failed.plugin
                        && (!failed.started || (failed.refused && answered)))
            }
            _ => false,
        }
    }

    /// The result that the plugins get on DEL: that of the ADD or, where it failed, of the plugins that
    /// succeeded.
    pub fn result_for_del(&self) -> Option<Cow<'_, CniResult>> {
        if let Some(result) = &self.result {
            return Some(Cow::Borrowed(result));
        }
        let so_far = self.failed_add.as_ref()?.so_far.as_ref()?;
        let parsed = CniResult::parse(so_far.get().as_bytes(), self.conf.cni_version());
        parsed.ok().map(Cow::Owned)
    }

    /// Whether it is not known if its ADD made anything: the daemon ended while it ran.
    pub fn is_doubtful(&self) -> bool {
        self.result.is_none() && self.failed_add.is_none()
    }

    /// Where its device is described, as its delegates are told.
    pub fn device_info_file(&self) -> Option<String> {
        let path: Option<String> = self.capability_args.get_as(DEVICE_INFO_CAPABILITY).ok()?;
        path.filter(|path| !path.is_empty())
    }
}

/// Whether a request for `if_name` means these attachments of a container. The runtime knows of one
/// interface, that of the default network; the others are behind it. Where no default network is
/// recorded, as of a container that was hot-plugged alone, whatever is there is meant.
pub fn are_behind(entries: &[Entry], if_name: &IfName) -> bool {
    let default = entries.iter().find(|entry| entry.is_default);
    default.is_none_or(|default| default.if_name == *if_name)
}
