//! A sandbox's plan as a file in Multus' format: a JSON list with an object per delegate. The
//! daemon keeps further members under a key of its own, which Multus ignores.

mod format;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cni_types::args::{CniArgs, IfName};
use cni_types::conf::{self, NetworkConfList, PluginConf};
use cni_types::json::Cause;

use format::{Delegate, Own, Pod, summaries};

use super::seal::{self, Seal};
use cnidaria_core::domain::attachment::{Device, interface_at};
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::domain::runtime_config::RuntimeConfig;
use cnidaria_core::domain::sandbox::Sandbox;

/// Why a file is invalid.
pub(super) type Reason = String;

/// Who wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// This daemon or an earlier one: the file is complete.
    Cnidaria,
    /// Multus: some values are only in the result cache.
    Multus,
}

/// Serialises a plan. `deferrable` says whether its DEL may run after the namespace is gone.
pub(super) fn write(entries: &[Entry], deferrable: bool) -> Vec<u8> {
    let delegates: Vec<Delegate> = entries
        .iter()
        .enumerate()
        .map(|(position, entry)| delegate(position, entry, deferrable))
        .collect();
    let mut text =
        serde_json::to_vec(&delegates).expect("strings and raw JSON into memory cannot fail");
    seal::seal(&mut text);
    text
}

fn delegate(position: usize, entry: &Entry, deferrable: bool) -> Delegate {
    let (conf, conf_list) = summaries(&entry.conf);
    let arguments = RuntimeConfig::of_capability_args(&entry.capability_args);
    // In first position, an interface name also says that this is not a default network.
    let own_name = !entry.is_default && (position == 0 || entry.if_name != interface_at(position));
    Delegate {
        conf,
        conf_list,
        name: entry.network.clone(),
        if_name_request: if own_name {
            entry.if_name.to_string()
        } else {
            String::new()
        },
        mac_request: entry.cni_args.get("MAC").map(ToOwned::to_owned),
        infiniband_guid_request: arguments.infiniband_guid,
        // Several addresses are passed as a capability, not as an argument.
        ip_request: match entry.cni_args.get("IP") {
            Some(ip) => Some(vec![ip.to_owned()]),
            None => Some(arguments.ips).filter(|ips| ips.len() > 1),
        },
        device_id: match &entry.device {
            Some(device) => Some(device.id.clone()),
            None => arguments.device_id,
        },
        resource_name: entry
            .device
            .as_ref()
            .map(|device| device.resource_name.clone()),
        bytes: STANDARD.encode(entry.conf.text()),
        cnidaria: Some(Own {
            checksum: (position == 0).then(seal::placeholder),
            deferrable: position == 0 && deferrable,
            if_name: entry.if_name.clone(),
            chosen: entry.is_chosen,
            netns: entry.netns.clone(),
            namespace: entry.namespace.clone(),
            runtime_network: entry.runtime_network.clone(),
            failed_add: entry.failed_add.clone(),
            added_at: entry.added_at,
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

/// Parses a plan. `sandbox`, from the present request, provides what Multus does not write: the
/// namespace, the pod and the default network's interface.
pub(super) fn read(text: &[u8], sandbox: &Sandbox) -> Result<(Vec<Entry>, Writer), Reason> {
    let seal = seal::verify(text);
    if seal == Seal::Broken {
        return Err("its checksum does not match".to_owned());
    }
    let delegates: Vec<Delegate> = serde_json::from_slice(text)
        .map_err(|error| format!("not a list of delegates: {}", Cause::from(error)))?;
    if seal == Seal::Missing && delegates.iter().any(|delegate| delegate.cnidaria.is_some()) {
        return Err("it is this daemon's and has lost its checksum".to_owned());
    }
    if delegates.is_empty() {
        return Err("a list without delegates".to_owned());
    }
    let entries = delegates
        .into_iter()
        .enumerate()
        .map(|(position, delegate)| {
            entry(position, delegate, sandbox)
                .map_err(|reason| format!("delegate {position}: {reason}"))
        })
        .collect::<Result<_, _>>()?;
    let writer = match seal {
        Seal::Whole => Writer::Cnidaria,
        Seal::Broken | Seal::Missing => Writer::Multus,
    };
    Ok((entries, writer))
}

fn entry(position: usize, delegate: Delegate, sandbox: &Sandbox) -> Result<Entry, Reason> {
    // If everything was hot-plugged, the first delegate has an interface name. Multus also writes
    // one for default networks, which are then attached by it.
    let is_default =
        position == 0 && (delegate.cnidaria.is_none() || delegate.if_name_request.is_empty());
    let conf = conf(&delegate)?;
    let device = match (&delegate.device_id, &delegate.resource_name) {
        (Some(id), Some(resource_name)) => Some(Device {
            resource_name: resource_name.clone(),
            id: id.clone(),
        }),
        _ => None,
    };
    let common = |if_name, netns, pod, cni_args, capability_args| Entry {
        container_id: sandbox.container_id.clone(),
        netns,
        pod,
        runtime_network: None,
        network: delegate.name.clone(),
        if_name,
        is_default,
        is_chosen: false,
        conf,
        cni_args,
        capability_args,
        device,
        result: None,
        namespace: None,
        tags: std::collections::BTreeMap::new(),
        failed_add: None,
        added_at: None,
    };
    if let Some(own) = delegate.cnidaria {
        let pod = PodRef {
            namespace: own.pod.namespace,
            name: own.pod.name,
            uid: own.pod.uid,
        };
        // The request takes precedence: a DEL after the pod's end has no namespace.
        let netns = sandbox.netns.clone().or_else(|| own.netns.clone());
        let added_at = own
            .netns
            .filter(|_| netns.as_ref().is_some_and(|path| !path.is_empty()));
        let namespace = own.namespace.map(|namespace| Namespace {
            added_at: added_at.filter(|path| netns.as_ref() != Some(path)),
            ..namespace
        });
        let entry = common(own.if_name, netns, pod, own.cni_args, own.capability_args);
        return Ok(Entry {
            is_chosen: own.chosen,
            namespace,
            runtime_network: own.runtime_network,
            failed_add: own.failed_add,
            added_at: own.added_at,
            ..entry
        });
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
        // The default network's device is in its conf only.
        device_id: delegate.device_id.filter(|_| !is_default),
        ..RuntimeConfig::default()
    };
    let cni_args = request
        .cni_args(sandbox, &CniArgs::new())
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
    let reason = |error: conf::Error| error.to_string();
    let chain = &delegate.chain;
    let Some(plugins) = chain.plugins.as_ref().filter(|p| !p.is_empty()) else {
        return NetworkConfList::parse_any(decode(&delegate.bytes)?).map_err(reason);
    };
    let list = chain.bytes.as_ref().unwrap_or(&delegate.bytes);
    let list = NetworkConfList::parse_list(decode(list)?).map_err(reason)?;
    let plugins = plugins
        .iter()
        .map(|plugin| PluginConf::parse(decode(&plugin.bytes)?).map_err(reason))
        .collect::<Result<Vec<_>, _>>()?;
    // The list keeps its plugins as written; each plugin's own bytes are as Go prints them. Only
    // plugins from a sibling directory are missing from the list.
    let types = |plugins: &[PluginConf]| -> Vec<_> {
        plugins.iter().map(|p| p.plugin_type().clone()).collect()
    };
    if types(list.plugins()) == types(&plugins) {
        return Ok(list);
    }
    list.with_plugins(plugins).map_err(reason)
}

fn decode(text: &str) -> Result<Vec<u8>, Reason> {
    STANDARD
        .decode(text)
        .map_err(|error| format!("Bytes: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::args::ContainerId;
    use cnidaria_core::domain::entry::FailedAdd;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    fn sandbox() -> Sandbox {
        Sandbox {
            container_id: ContainerId::new("c").unwrap(),
            netns: Some("/run/netns/a".into()),
            namespace: None,
            if_name: IfName::new("eth0").unwrap(),
            infra_container_id: "c".into(),
            runtime_network: None,
            pod: PodRef {
                namespace: "default".into(),
                name: "a".into(),
                uid: "u".into(),
            },
            args: CniArgs::new(),
        }
    }

    fn entry_of(conf: &str) -> Entry {
        let (sandbox, conf) = (sandbox(), NetworkConfList::parse_any(conf).unwrap());
        Entry {
            is_default: true,
            ..Entry::of(&sandbox, "default/n", sandbox.if_name.clone(), conf)
        }
    }

    fn written(conf: &str) -> Value {
        let mut file: Value = serde_json::from_slice(&write(&[entry_of(conf)], false)).unwrap();
        let delegate = file[0].as_object_mut().unwrap();
        delegate.remove("cnidaria");
        Value::Object(delegate.clone())
    }

    /// A list as Multus writes it for a file, with these plugins' own bytes.
    fn of_multus(list: &str, plugins: &[&str]) -> Vec<u8> {
        let plugins: Vec<Value> = plugins
            .iter()
            .map(|plugin| json!({"Network": {}, "Bytes": STANDARD.encode(plugin)}))
            .collect();
        json!([{
            "Conf": {"ipam": {}}, "ConfList": {"name": "n", "plugins": []}, "Name": "n",
            "CNINetworkConfigList": {"Name": "n", "Plugins": plugins, "Bytes": STANDARD.encode(list)},
            "Bytes": STANDARD.encode(r#"{"name":"n","plugins":[{"ipam":{},"type":"a"}]}"#),
        }])
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_failed_add_is_read_as_it_was_written() {
        let so_far = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}"#;
        let mut entry = entry_of(r#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#);
        entry.failed_add = Some(FailedAdd {
            plugin: 1,
            refused: true,
            started: true,
            so_far: Some(RawValue::from_string(so_far.to_owned()).unwrap()),
            unfinished: false,
        });
        let (read, _) = read(&write(&[entry], false), &sandbox()).unwrap();
        assert!(read[0].made_nothing(1, true) && !read[0].made_nothing(1, false));
        let result = read[0].result_for_del().unwrap();
        assert_eq!(result.ips[0].address.to_string(), "10.0.0.2/24");
    }

    #[test]
    fn a_conf_has_the_members_that_multus_writes() {
        let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"bridge","x":1,"capabilities":{"ips":true},"ipam":{"type":"static","y":2}}"#;
        assert_eq!(
            written(conf),
            json!({
                "Conf": {
                    "cniVersion": "1.0.0", "name": "n", "type": "bridge",
                    "capabilities": {"ips": true}, "ipam": {"type": "static"},
                },
                "ConfList": {},
                "CNINetworkConfigList": {
                    "Name": "", "CNIVersion": "", "DisableCheck": false, "DisableGC": false,
                    "LoadOnlyInlinedPlugins": false, "Plugins": null, "Bytes": null,
                },
                "Name": "default/n", "IsFilterV4Gateway": false, "IsFilterV6Gateway": false,
                "Bytes": STANDARD.encode(conf),
            })
        );
    }

    #[test]
    fn a_list_has_the_members_that_multus_writes() {
        let file = written(
            r#"{"cniVersion":"1.0.0","name":"n","disableCheck":true,"plugins":[{"type":"a","ipam":{"type":"static"}},{"type":"b"}]}"#,
        );
        assert_eq!(
            file["Conf"],
            json!({"cniVersion": "1.0.0", "name": "n", "ipam": {}})
        );
        assert_eq!(
            file["ConfList"],
            json!({
                "cniVersion": "1.0.0", "name": "n", "disableCheck": true,
                "plugins": [{"type": "a", "ipam": {"type": "static"}}, {"type": "b", "ipam": {}}],
            })
        );
    }

    #[test]
    fn device_round_trips_in_multus_format() {
        let mut entry = entry_of(r#"{"name":"n","type":"a","deviceID":"1"}"#);
        entry.device = Some(Device {
            resource_name: "a/x".into(),
            id: "1".into(),
        });
        let text = write(&[entry.clone()], false);
        let file: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(file[0]["deviceID"], "1");
        assert_eq!(file[0]["resourceName"], "a/x");
        let (read, _) = read(&text, &sandbox()).unwrap();
        assert_eq!(read[0].device, entry.device);
    }

    #[test]
    fn a_chosen_default_network_is_still_one() {
        for is_chosen in [true, false] {
            let mut entry = entry_of(r#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#);
            entry.is_chosen = is_chosen;
            let (read, _) = read(&write(&[entry], false), &sandbox()).unwrap();
            assert!(read[0].is_default);
            assert_eq!(read[0].is_chosen, is_chosen);
        }
    }

    #[test]
    fn lone_hotplugged_network_is_not_default() {
        for name in ["net0", "net1"] {
            let entry = Entry {
                if_name: IfName::new(name).unwrap(),
                is_default: false,
                ..entry_of(r#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#)
            };
            let (read, _) = read(&write(&[entry], false), &sandbox()).unwrap();
            assert!(!read[0].is_default);
            assert_eq!(read[0].if_name.as_str(), name);
        }
    }

    #[test]
    fn default_network_has_no_device_id_argument() {
        let conf = STANDARD.encode(r#"{"name":"n","type":"a","deviceID":"1"}"#);
        let delegate = json!({
            "Conf": {"ipam": {}}, "ConfList": {}, "Name": "n", "deviceID": "1",
            "resourceName": "a/x", "Bytes": conf,
        });
        let text = json!([delegate, delegate]).to_string();
        let (entries, _) = read(text.as_bytes(), &sandbox()).unwrap();
        assert!(!entries[0].capability_args.contains_key("deviceID"));
        assert!(entries[1].capability_args.contains_key("deviceID"));
        assert!(entries.iter().all(|entry| entry.device.is_some()));
    }

    #[test]
    fn multus_list_from_file_keeps_its_bytes() {
        let list = r#"{"name":"n","plugins":[{"type":"a","big":1e3,"y":2.50}]}"#;
        let text = of_multus(list, &[r#"{"big":1000,"type":"a","y":2.5}"#]);
        let (entries, _) = read(&text, &sandbox()).unwrap();
        assert_eq!(entries[0].conf.text(), list);
    }

    #[test]
    fn multus_list_directory_plugins_are_kept() {
        let list = r#"{"name":"n","plugins":[{"type":"a","x":1}]}"#;
        let text = of_multus(list, &[r#"{"type":"a","x":1}"#, r#"{"type":"b","z":3}"#]);
        let (entries, _) = read(&text, &sandbox()).unwrap();
        let plugins: Vec<String> = entries[0]
            .conf
            .plugins()
            .iter()
            .map(|plugin| plugin.raw().to_string())
            .collect();
        assert_eq!(plugins, [r#"{"type":"a","x":1}"#, r#"{"type":"b","z":3}"#]);
    }
}
