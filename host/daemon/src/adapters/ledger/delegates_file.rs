//! The file that holds a sandbox's plan, in the format of Multus: a JSON list with an object for
//! each delegate. What Multus has no member for is under a key of our own, which it passes over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cni_types::args::{CniArgs, IfName};
use cni_types::conf::{ConfKind, NetworkConfList, PluginConf};
use cni_types::json::RawObject;
use serde::{Deserialize, Serialize};

use crate::domain::attachment::interface_at;
use crate::domain::entry::Entry;
use crate::domain::pod::PodRef;
use crate::domain::runtime_config::RuntimeConfig;
use crate::domain::sandbox::Sandbox;

/// Why a file cannot be understood, in words.
pub(super) type Reason = String;

/// One delegate as Multus writes it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Delegate {
    #[serde(rename = "Conf", default)]
    conf: Summary,
    #[serde(rename = "ConfList", default)]
    conf_list: Summary,
    #[serde(rename = "CNINetworkConfigList", default, skip_serializing)]
    chain: Option<Chain>,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(
        rename = "ifnameRequest",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    if_name_request: String,
    #[serde(
        rename = "macRequest",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    mac_request: Option<String>,
    #[serde(
        rename = "infinibandGUIDRequest",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    infiniband_guid_request: Option<String>,
    #[serde(rename = "ipRequest", default, skip_serializing_if = "Option::is_none")]
    ip_request: Option<Vec<String>>,
    #[serde(rename = "IsFilterV4Gateway", default)]
    is_filter_v4_gateway: bool,
    #[serde(rename = "IsFilterV6Gateway", default)]
    is_filter_v6_gateway: bool,
    #[serde(rename = "deviceID", default, skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    /// The conf, base64.
    #[serde(rename = "Bytes", default)]
    bytes: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnidaria: Option<Own>,
}

/// What Multus repeats of a conf beside its bytes: it tells a list from a single conf by it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Summary {
    #[serde(
        rename = "cniVersion",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    cni_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    plugin_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugins: Option<Vec<PluginSummary>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PluginSummary {
    #[serde(rename = "type", default)]
    plugin_type: String,
}

/// The form in which some versions of Multus keep a chain; then `Bytes` has lost members.
#[derive(Debug, Deserialize)]
struct Chain {
    #[serde(rename = "Plugins", default)]
    plugins: Option<Vec<ChainPlugin>>,
    #[serde(rename = "Bytes", default)]
    bytes: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ChainPlugin {
    #[serde(rename = "Bytes", default)]
    bytes: String,
}

/// What is ours alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    if_name: IfName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
    pod: Pod,
    cni_args: CniArgs,
    capability_args: RawObject,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pod {
    namespace: String,
    name: String,
    uid: String,
}

/// The text of the file for a plan.
pub(super) fn write(entries: &[Entry]) -> Vec<u8> {
    let delegates: Vec<Delegate> = entries
        .iter()
        .enumerate()
        .map(|(i, e)| delegate(i, e))
        .collect();
    serde_json::to_vec(&delegates).expect("strings and raw JSON into memory cannot fail")
}

fn delegate(position: usize, entry: &Entry) -> Delegate {
    let conf = &entry.conf;
    let names = |plugin_type: String, plugins| Summary {
        cni_version: conf.cni_version().as_str().to_owned(),
        name: conf.name().to_string(),
        plugin_type,
        plugins,
    };
    let first_type = || {
        conf.plugins()
            .first()
            .map(|p| p.plugin_type().to_string())
            .unwrap_or_default()
    };
    let (single, list) = match conf.kind() {
        ConfKind::Single => (names(first_type(), None), Summary::default()),
        ConfKind::List => {
            let plugins = conf.plugins().iter().map(|p| PluginSummary {
                plugin_type: p.plugin_type().to_string(),
            });
            (
                names(String::new(), None),
                names(String::new(), Some(plugins.collect())),
            )
        }
    };
    let arguments: RuntimeConfig =
        serde_json::from_str(&entry.capability_args.to_string()).unwrap_or_default();
    let own_name = !entry.is_default && entry.if_name != interface_at(position);
    Delegate {
        conf: single,
        conf_list: list,
        name: entry.network.clone(),
        if_name_request: if own_name {
            entry.if_name.to_string()
        } else {
            String::new()
        },
        mac_request: entry.cni_args.get("MAC").map(ToOwned::to_owned),
        infiniband_guid_request: arguments.infiniband_guid,
        ip_request: entry
            .cni_args
            .get("IP")
            .map(|ips| ips.split(',').map(ToOwned::to_owned).collect()),
        device_id: arguments.device_id,
        bytes: STANDARD.encode(conf.text()),
        cnidaria: Some(Own {
            if_name: entry.if_name.clone(),
            netns: entry.netns.clone(),
            pod: Pod {
                namespace: entry.pod.namespace.clone(),
                name: entry.pod.name.clone(),
                uid: entry.pod.uid.clone(),
            },
            cni_args: entry.cni_args.clone(),
            capability_args: entry.capability_args.clone(),
        }),
        ..Delegate::default()
    }
}

/// The plan of a file. `sandbox` tells what Multus does not write: the namespace, the pod and the
/// interface of the default network, as the present request has them.
pub(super) fn read(text: &[u8], sandbox: &Sandbox) -> Result<Vec<Entry>, Reason> {
    let delegates: Vec<Delegate> = serde_json::from_slice(text)
        .map_err(|error| format!("not a list of delegates: {error}"))?;
    if delegates.is_empty() {
        return Err("a list without delegates".to_owned());
    }
    delegates
        .into_iter()
        .enumerate()
        .map(|(position, delegate)| {
            entry(position, delegate, sandbox)
                .map_err(|reason| format!("delegate {position}: {reason}"))
        })
        .collect()
}

fn entry(position: usize, delegate: Delegate, sandbox: &Sandbox) -> Result<Entry, Reason> {
    let is_default = position == 0;
    let conf = conf(&delegate)?;
    let common = |if_name, netns, pod, cni_args, capability_args| Entry {
        container_id: sandbox.container_id.clone(),
        netns,
        pod,
        network: delegate.name.clone(),
        if_name,
        is_default,
        conf,
        cni_args,
        capability_args,
        result: None,
    };
    if let Some(own) = delegate.cnidaria {
        let pod = PodRef {
            namespace: own.pod.namespace,
            name: own.pod.name,
            uid: own.pod.uid,
        };
        // The request knows better: on a DEL after the pod's end there is no namespace any more.
        let netns = sandbox.netns.clone().or(own.netns);
        return Ok(common(
            own.if_name,
            netns,
            pod,
            own.cni_args,
            own.capability_args,
        ));
    }
    let if_name = match delegate.if_name_request.as_str() {
        "" if is_default => sandbox.if_name.clone(),
        "" => interface_at(position),
        name => IfName::new(name).map_err(|error| error.to_string())?,
    };
    let request = RuntimeConfig {
        ips: delegate.ip_request.unwrap_or_default(),
        mac: delegate.mac_request,
        infiniband_guid: delegate.infiniband_guid_request,
        device_id: delegate.device_id,
        ..RuntimeConfig::default()
    };
    let cni_args = request
        .cni_args(sandbox)
        .map_err(|error| error.to_string())?;
    Ok(common(
        if_name,
        sandbox.netns.clone(),
        sandbox.pod.clone(),
        cni_args,
        request.capability_args(),
    ))
}

fn conf(delegate: &Delegate) -> Result<NetworkConfList, Reason> {
    let chain = delegate.chain.as_ref();
    if let Some(plugins) = chain
        .and_then(|chain| chain.plugins.as_ref())
        .filter(|p| !p.is_empty())
    {
        let list = chain
            .and_then(|chain| chain.bytes.as_deref())
            .unwrap_or(&delegate.bytes);
        let list = NetworkConfList::parse_list(decode(list)?).map_err(|error| error.to_string())?;
        let plugins = plugins
            .iter()
            .map(|plugin| {
                PluginConf::parse(decode(&plugin.bytes)?).map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()?;
        return list
            .with_plugins(plugins)
            .map_err(|error| error.to_string());
    }
    NetworkConfList::parse_any(decode(&delegate.bytes)?).map_err(|error| error.to_string())
}

fn decode(text: &str) -> Result<Vec<u8>, Reason> {
    STANDARD
        .decode(text)
        .map_err(|error| format!("Bytes: {error}"))
}
