//! The members of the file: Multus' and our own.

use std::collections::BTreeMap;

use cni_types::args::{CniArgs, IfName, NetworkName};
use cni_types::conf::{ConfKind, NetworkConfList, PluginConf};
use cni_types::json::RawObject;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use cnidaria_core::domain::entry::FailedAdd;
use cnidaria_core::domain::namespace::Namespace;

/// One delegate as Multus writes it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Delegate {
    /// First, because the checksum covers what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cnidaria: Option<Own>,
    #[serde(rename = "Conf", default)]
    pub(super) conf: PluginSummary,
    #[serde(rename = "ConfList", default)]
    pub(super) conf_list: ListSummary,
    #[serde(rename = "CNINetworkConfigList", default)]
    pub(super) chain: Chain,
    #[serde(rename = "Name", default)]
    pub(super) name: String,
    #[serde(
        rename = "ifnameRequest",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub(super) if_name_request: String,
    #[serde(
        rename = "macRequest",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) mac_request: Option<String>,
    #[serde(
        rename = "infinibandGUIDRequest",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) infiniband_guid_request: Option<String>,
    #[serde(rename = "ipRequest", default, skip_serializing_if = "Option::is_none")]
    pub(super) ip_request: Option<Vec<String>>,
    #[serde(rename = "IsFilterV4Gateway", default)]
    pub(super) is_filter_v4_gateway: bool,
    #[serde(rename = "IsFilterV6Gateway", default)]
    pub(super) is_filter_v6_gateway: bool,
    #[serde(rename = "deviceID", default, skip_serializing_if = "Option::is_none")]
    pub(super) device_id: Option<String>,
    #[serde(
        rename = "resourceName",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) resource_name: Option<String>,
    /// The conf, base64.
    #[serde(rename = "Bytes", default)]
    pub(super) bytes: String,
}

/// Members of a plugin's conf that Multus repeats beside its bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PluginSummary {
    #[serde(rename = "cniVersion", skip_serializing_if = "String::is_empty")]
    pub(super) cni_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub(super) plugin_type: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) capabilities: BTreeMap<String, bool>,
    pub(super) ipam: IpamSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct IpamSummary {
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub(super) plugin_type: String,
}

/// Members of a list that Multus repeats; its plugins tell a list from a single conf.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ListSummary {
    #[serde(rename = "cniVersion", skip_serializing_if = "String::is_empty")]
    pub(super) cni_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(rename = "disableCheck", skip_serializing_if = "std::ops::Not::not")]
    pub(super) disable_check: bool,
    #[serde(rename = "disableGC", skip_serializing_if = "std::ops::Not::not")]
    pub(super) disable_gc: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plugins: Option<Vec<PluginSummary>>,
}

/// Multus' form of a list that it read from a file, in which case the delegate's `Bytes` has lost
/// members. The daemon leaves it empty, since its `Bytes` is complete.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Chain {
    pub(super) name: String,
    #[serde(rename = "CNIVersion")]
    pub(super) cni_version: String,
    pub(super) disable_check: bool,
    #[serde(rename = "DisableGC")]
    pub(super) disable_gc: bool,
    pub(super) load_only_inlined_plugins: bool,
    pub(super) plugins: Option<Vec<ChainPlugin>>,
    pub(super) bytes: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChainPlugin {
    #[serde(rename = "Bytes", default)]
    pub(super) bytes: String,
}

/// The daemon's own members.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Own {
    /// Covers everything after it. In the first delegate only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<String>,
    /// Whether a DEL may run after the namespace is gone. In the first delegate only, right after
    /// the checksum, where the shim looks for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deferrable: bool,
    pub(super) if_name: IfName,
    /// Whether the pod chose this default network itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) chosen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) netns: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<Namespace>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) runtime_network: Option<NetworkName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed_add: Option<FailedAdd>,
    /// When the ADD began, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) added_at: Option<u64>,
    pub(super) pod: Pod,
    pub(super) cni_args: CniArgs,
    pub(super) capability_args: RawObject,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// What Multus repeats of a conf: as a single plugin, and as a list.
pub(super) fn summaries(conf: &NetworkConfList) -> (PluginSummary, ListSummary) {
    let version: Option<String> = conf.raw().get_as("cniVersion").ok().flatten();
    let version = version.unwrap_or_default();
    match (conf.kind(), conf.plugins()) {
        (ConfKind::Single, [only, ..]) => {
            let single = PluginSummary {
                cni_version: version,
                name: conf.name().to_string(),
                ..PluginSummary::of(only)
            };
            (single, ListSummary::default())
        }
        (_, plugins) => {
            let single = PluginSummary {
                cni_version: version.clone(),
                name: conf.name().to_string(),
                ..PluginSummary::default()
            };
            let list = ListSummary {
                cni_version: version,
                name: conf.name().to_string(),
                disable_check: conf.disable_check(),
                disable_gc: conf.disable_gc(),
                plugins: Some(plugins.iter().map(PluginSummary::of).collect()),
            };
            (single, list)
        }
    }
}

impl PluginSummary {
    fn of(plugin: &PluginConf) -> Self {
        Self {
            plugin_type: plugin.plugin_type().to_string(),
            capabilities: plugin.capabilities().clone(),
            ipam: IpamSummary {
                plugin_type: plugin
                    .ipam_type()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            },
            dns: plugin.dns().map(ToOwned::to_owned),
            ..Self::default()
        }
    }
}
