//! What a plugin is given on standard input, as a pure function of the configuration and the
//! parameters of the call (specification, section 3, deriving request configuration).

use cni_types::args::{CniArgs, ContainerId, IfName};
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::json::{self, RawObject};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One container's interface, apart from the network that it is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConf {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_NETNS`, a path; may be empty for DEL.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub if_name: IfName,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// What the runtime offers for `runtimeConfig`: an object from capabilities to their values.
    /// A plugin is given those that it declares.
    pub capability_args: RawObject,
}

/// An attachment that is still valid, as GC tells plugins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID` of its ADD.
    #[serde(rename = "containerID")]
    pub container_id: ContainerId,
    /// `CNI_IFNAME` of its ADD.
    #[serde(rename = "ifname")]
    pub if_name: IfName,
}

/// The request for ADD, CHECK and DEL: the plugin's own configuration, with `name`, `cniVersion`,
/// `prevResult` and `runtimeConfig` replaced where they stand or appended in this order.
///
/// Without a previous result there is no `prevResult`, even if the author wrote one. `runtimeConfig`
/// is touched only when there is something to tell. All other members keep order and text.
///
/// # Errors
/// [`json::Error::Member`] never happens with values of these types.
pub fn attachment(
    list: &NetworkConfList,
    plugin: &PluginConf,
    runtime: &RuntimeConf,
    prev_result: Option<Box<RawValue>>,
) -> Result<RawObject, json::Error> {
    let mut request = network(list, plugin)?;
    match prev_result {
        Some(result) => request.set_raw("prevResult", result),
        None => {
            request.remove("prevResult");
        }
    }
    let mut runtime_config = RawObject::new();
    for (capability, value) in runtime.capability_args.iter() {
        if plugin.has_capability(capability) {
            runtime_config.set_raw(capability, value.to_owned());
        }
    }
    if !runtime_config.is_empty() {
        request.set("runtimeConfig", &runtime_config)?;
    }
    Ok(request)
}

/// The request for STATUS: the plugin's own configuration with `name` and `cniVersion`.
///
/// # Errors
/// [`json::Error::Member`] never happens with values of these types.
pub fn network(list: &NetworkConfList, plugin: &PluginConf) -> Result<RawObject, json::Error> {
    let mut request = plugin.raw().clone();
    request.set("name", list.name())?;
    request.set("cniVersion", list.cni_version().as_str())?;
    Ok(request)
}

/// The request for GC: as for STATUS, with the valid attachments under `cni.dev/valid-attachments`
/// and, as the reference library has it, under `cni.dev/attachments`, the name that the
/// specification had at first.
///
/// # Errors
/// [`json::Error::Member`] never happens with values of these types.
pub fn gc(
    list: &NetworkConfList,
    plugin: &PluginConf,
    valid: &[Attachment],
) -> Result<RawObject, json::Error> {
    let mut request = network(list, plugin)?;
    request.set("cni.dev/valid-attachments", valid)?;
    request.set("cni.dev/attachments", valid)?;
    Ok(request)
}
