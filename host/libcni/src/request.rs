//! A plugin's standard input, as a pure function of the configuration and the call's parameters
//! (specification, section 3, deriving request configuration).

use cni_types::args::{CniArgs, ContainerId, IfName};
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::json::{self, RawObject};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One container's interface, independent of the network.
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
    /// Values for `runtimeConfig`, by capability. A plugin gets those that it declares.
    pub capability_args: RawObject,
}

/// A valid attachment, in the form that GC passes to plugins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValidAttachment {
    /// `CNI_CONTAINERID` of its ADD.
    #[serde(rename = "containerID")]
    pub container_id: ContainerId,
    /// `CNI_IFNAME` of its ADD.
    #[serde(rename = "ifname")]
    pub if_name: IfName,
}

/// The request for ADD, CHECK and DEL: the plugin's configuration, with `name`, `cniVersion`,
/// `prevResult` and `runtimeConfig` replaced in place or appended in this order.
///
/// Without a previous result, `prevResult` is removed. `runtimeConfig` is only touched when it has
/// a value. All other members keep their order and text.
///
/// # Errors
/// [`json::Error::Member`]; does not occur with these types.
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

/// The request for STATUS: the plugin's configuration with `name` and `cniVersion`.
///
/// # Errors
/// [`json::Error::Member`]; does not occur with these types.
pub fn network(list: &NetworkConfList, plugin: &PluginConf) -> Result<RawObject, json::Error> {
    let mut request = plugin.raw().clone();
    request.set("name", list.name())?;
    request.set("cniVersion", list.cni_version().as_str())?;
    Ok(request)
}

/// The request for GC: as for STATUS, with the valid attachments under `cni.dev/valid-attachments`
/// and, like the reference library, under `cni.dev/attachments`, the specification's original name.
///
/// # Errors
/// [`json::Error::Member`]; does not occur with these types.
pub fn gc(
    list: &NetworkConfList,
    plugin: &PluginConf,
    valid: &[ValidAttachment],
) -> Result<RawObject, json::Error> {
    let mut request = network(list, plugin)?;
    request.set("cni.dev/valid-attachments", valid)?;
    request.set("cni.dev/attachments", valid)?;
    Ok(request)
}
