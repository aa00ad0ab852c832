//! An attachment as recorded in the ledger: exactly what its delegates are given. Created after the
//! policies, so that later policy changes do not affect CHECK and DEL.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
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
    /// The attachment's sandbox.
    pub container_id: ContainerId,
    /// Path of the network namespace; `None` if unknown, empty if the namespace is gone.
    pub netns: Option<String>,
    /// The namespace at that path at ADD; `None` in entries by Multus or older daemons.
    pub namespace: Option<Namespace>,
    /// The sandbox's pod; its names are empty if the ledger does not have them.
    pub pod: PodRef,
    /// `name` of the runtime's conf through which its pod was attached, for GC; `None` in entries by
    /// Multus or older daemons.
    pub runtime_network: Option<NetworkName>,
    /// The network's name as in network-status.
    pub network: String,
    /// The interface's name in the pod.
    pub if_name: IfName,
    /// Whether this is the pod's default network.
    pub is_default: bool,
    /// Whether the pod chose this default network itself; false if unknown.
    pub is_chosen: bool,
    /// The delegates' conf or conflist.
    pub conf: NetworkConfList,
    /// The delegates' `CNI_ARGS`.
    pub cni_args: CniArgs,
    /// Arguments of all capabilities; each plugin gets those it declares.
    pub capability_args: RawObject,
    /// The device allocated for it; its id is also in the conf.
    pub device: Option<Device>,
    /// The delegates' result, once there is one.
    pub result: Option<CniResult>,
    /// Tags that policies set on the result.
    pub tags: BTreeMap<String, String>,
    /// Where an ADD without a result failed; `None` if it succeeded or is not known to have ended.
    pub failed_add: Option<FailedAdd>,
    /// When its ADD began, in seconds since 1970; `None` in entries by Multus or older daemons.
    pub added_at: Option<u64>,
}

/// Where in its chain an ADD failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedAdd {
    /// The plugin's index in the chain. Earlier plugins succeeded, later ones never ran.
    pub plugin: usize,
    /// Whether the plugin answered with an error, rather than hanging, dying by a signal or printing a
    /// malformed result. The error need not be an error object; it may be output beyond the limit.
    pub refused: bool,
    /// Whether the plugin was started at all.
    #[serde(default = "begun")]
    pub started: bool,
    /// The result of the earlier plugins in the conf's version, for the DEL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub so_far: Option<Box<RawValue>>,
    /// Whether the ADD is not known to have ended: a hot-plug that is running, or that a daemon did
    /// not live to finish.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

impl FailedAdd {
    /// The state of a hot-plug that may be anywhere in its chain.
    pub fn unfinished() -> Self {
        Self {
            plugin: 0,
            refused: false,
            started: true,
            so_far: None,
            unfinished: true,
        }
    }
}

/// The default for records of older daemons, which lack this field.
fn begun() -> bool {
    true
}

impl Entry {
    /// Builds the entry from which the delegates of `attachment` are called.
    ///
    /// # Errors
    /// A value contains characters that `CNI_ARGS` does not allow.
    pub fn new(attachment: &Attachment, sandbox: &Sandbox) -> Result<Self, cni_types::args::Error> {
        let (if_name, conf) = (attachment.if_name.clone(), attachment.conf.clone());
        Ok(Self {
            is_default: attachment.is_default,
            is_chosen: attachment.is_chosen,
            cni_args: attachment.request.cni_args(sandbox, &attachment.args)?,
            capability_args: attachment.capability_args(),
            device: attachment.device.clone(),
            ..Self::of(sandbox, &attachment.network, if_name, conf)
        })
    }

    /// The entry of an additional network, without arguments, device and result.
    pub fn of(sandbox: &Sandbox, network: &str, if_name: IfName, conf: NetworkConfList) -> Self {
        Self {
            container_id: sandbox.container_id.clone(),
            netns: sandbox.netns.clone(),
            namespace: sandbox.namespace.clone(),
            pod: sandbox.pod.clone(),
            runtime_network: sandbox.runtime_network.clone(),
            network: network.to_owned(),
            if_name,
            is_default: false,
            is_chosen: false,
            conf,
            cni_args: CniArgs::new(),
            capability_args: RawObject::new(),
            device: None,
            result: None,
            tags: BTreeMap::new(),
            failed_add: None,
            added_at: None,
        }
    }

    /// Whether a plugin whose DEL failed left nothing behind: its ADD never ran, or it answered with an
    /// error on the ADD and now on the DEL (`refused`).
    pub fn made_nothing(&self, plugin: usize, refused: bool) -> bool {
        match (&self.result, &self.failed_add) {
            (None, Some(failed)) if !failed.unfinished => {
                plugin > failed.plugin
                    || (plugin == failed.plugin && (!failed.started || (failed.refused && refused)))
            }
            _ => false,
        }
    }

    /// The result passed to the plugins on DEL: that of the ADD or, if it failed, of the plugins
    /// that succeeded.
    pub fn result_for_del(&self) -> Option<Cow<'_, CniResult>> {
        if let Some(result) = &self.result {
            return Some(Cow::Borrowed(result));
        }
        let so_far = self.failed_add.as_ref()?.so_far.as_ref()?;
        let parsed = CniResult::parse(so_far.get().as_bytes(), self.conf.cni_version());
        parsed.ok().map(Cow::Owned)
    }

    /// Whether its ADD may or may not have made something: the daemon exited while it ran.
    pub(crate) fn is_doubtful(&self) -> bool {
        let ended = |failed: &FailedAdd| !failed.unfinished;
        self.result.is_none() && !self.failed_add.as_ref().is_some_and(ended)
    }

    /// Whether this is a hot-plug that is running, or that an earlier daemon did not live to finish.
    pub fn is_unfinished(&self) -> bool {
        let unfinished = |failed: &FailedAdd| failed.unfinished;
        self.result.is_none() && self.failed_add.as_ref().is_some_and(unfinished)
    }

    /// Path of the device-info file, as passed to the delegates.
    pub fn device_info_file(&self) -> Option<String> {
        let path: Option<String> = self.capability_args.get_as(DEVICE_INFO_CAPABILITY).ok()?;
        path.filter(|path| !path.is_empty())
    }
}

impl Sandbox {
    /// Takes the pod from recorded attachments, if they name it: a request need not.
    #[must_use]
    pub(crate) fn with_pod_of(mut self, entries: &[Entry]) -> Self {
        if let Some(entry) = entries.iter().find(|entry| !entry.pod.name.is_empty()) {
            self.pod.clone_from(&entry.pod);
        }
        self
    }
}

/// Whether a request for `if_name` covers all these attachments of a container. The runtime knows
/// only the default network's interface, which stands for all. If no default network is recorded,
/// as for a container that was only hot-plugged, any name does.
pub(crate) fn are_behind(entries: &[Entry], if_name: &IfName) -> bool {
    let default = entries.iter().find(|entry| entry.is_default);
    default.is_none_or(|default| default.if_name == *if_name)
}
