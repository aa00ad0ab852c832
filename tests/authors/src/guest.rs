//! What hooks are offered, as the SDK's structs.

use cnidaria_guest::prelude::*;
use cnidaria_guest::{Bandwidth, Command, IfInfo, IpConfig, PortMapping, Route};
use policy_engine::RequestFacts;
use policy_engine::record;
use serde_json::Value;

/// The value of a text; null if it is not JSON.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A request.
pub(crate) fn request(facts: &RequestFacts) -> Request {
    let pod = facts.pod.as_ref();
    let namespace = pod.map(|pod| pod.namespace.as_str()).unwrap_or_default();
    let name = pod.map(|pod| pod.name.as_str()).unwrap_or_default();
    let command = match facts.command {
        policy_engine::Command::Add => Command::Add,
        policy_engine::Command::Del => Command::Del,
        policy_engine::Command::Check => Command::Check,
        policy_engine::Command::Gc => Command::Gc,
        policy_engine::Command::Status | policy_engine::Command::Version => Command::Status,
    };
    let mut request = Request::new(command, namespace, name).with_node_name(&facts.node_name);
    for (key, value) in &facts.annotations {
        request = request.with_annotation(key, value);
    }
    for (key, value) in &facts.labels {
        request = request.with_label(key, value);
    }
    let spec = &facts.pod_spec;
    if let Some(account) = &spec.service_account {
        request = request.with_service_account(account);
    }
    if let Some(owner) = &spec.owner {
        request = request.with_owner(&owner.kind, &owner.name);
    }
    if spec.host_network {
        request = request.with_host_network();
    }
    request
}

/// The pod's networks.
pub(crate) fn selections(networks: &record::Selections) -> Selections {
    let all = networks.others.iter();
    let selections = Selections::new(all.map(|slot| selection(&slot.selection)).collect());
    match &networks.default {
        Some(default) => selections.with_default(selection(default)),
        None => selections,
    }
}

fn selection(given: &policy_engine::Selection) -> Selection {
    Selection {
        if_name: given.if_name.clone(),
        ips: given.ips.clone(),
        mac: given.mac.clone(),
        infiniband_guid: given.infiniband_guid.clone(),
        bandwidth: given.bandwidth.map(bandwidth),
        port_mappings: given.port_mappings.iter().map(port_mapping).collect(),
        default_route: given.default_route.clone(),
        cni_args: given.cni_args.as_ref().map(ToString::to_string),
        ..Selection::new(&given.namespace, &given.name)
    }
}

fn bandwidth(given: policy_engine::Bandwidth) -> Bandwidth {
    Bandwidth {
        ingress_rate: given.ingress_rate,
        ingress_burst: given.ingress_burst,
        egress_rate: given.egress_rate,
        egress_burst: given.egress_burst,
    }
}

fn port_mapping(given: &policy_engine::PortMapping) -> PortMapping {
    PortMapping {
        host_port: given.host_port,
        container_port: given.container_port,
        protocol: given.protocol().to_owned(),
        host_ip: given.host_ip.clone(),
    }
}

/// An attachment.
pub(crate) fn attachment(given: &policy_engine::PolicyAttachment) -> Attachment {
    let ips: Vec<&str> = given.ips.iter().map(String::as_str).collect();
    let conf = given.conf.to_string();
    let mut attachment = Attachment::new(&given.network, &given.if_name, &conf).with_ips(&ips);
    if given.is_default {
        attachment = attachment.as_default();
    }
    if let Some(mac) = &given.mac {
        attachment = attachment.with_mac(mac);
    }
    if let Some(args) = &given.cni_args {
        attachment = attachment.with_cni_args(&args.to_string());
    }
    let fixed = &given.fixed;
    if let (Some(resource), Some(device)) = (&fixed.resource_name, &fixed.device_id) {
        attachment = attachment.with_device(resource, device);
    }
    let gateways: Vec<&str> = fixed.default_route.iter().map(String::as_str).collect();
    attachment = attachment.with_default_route(&gateways);
    let mappings: Vec<PortMapping> = given.port_mappings.iter().map(port_mapping).collect();
    // The SDK's structs refuse no edit here.
    let _ = attachment.set_port_mappings(&mappings);
    let _ = attachment.set_bandwidth(given.bandwidth.map(bandwidth));
    attachment
}

/// A plan, in which attachments have these statuses.
pub(crate) fn plan(
    attachments: &[policy_engine::PolicyAttachment],
    statuses: &[record::RecordedOutcome],
) -> Plan {
    let attachments = attachments.iter().enumerate();
    let pairs = attachments.map(|(index, one)| {
        let status = statuses.get(index).map(outcome).unwrap_or_default();
        (attachment(one), status)
    });
    Plan::new(pairs.collect())
}

/// Why an ADD failed.
pub(crate) fn failure(given: &policy_engine::AddFailure) -> Failure {
    let (policy, hook) = given.denied_by.clone().unzip();
    Failure {
        code: given.code,
        message: given.message.clone(),
        policy,
        hook,
    }
}

/// A result with its tags.
pub(crate) fn outcome(given: &record::RecordedOutcome) -> Outcome {
    let tags = given.earlier.iter().chain(&given.tags);
    tags.fold(
        result(&parsed(given.result.get())),
        |outcome, (key, value)| outcome.with_tag(key, value),
    )
}

fn result(result: &Value) -> Outcome {
    let list = |pointer: &str| {
        let list = result.pointer(pointer).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |value: &Value, key: &str| {
        let number = value.get(key).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok())
    };
    let texts = |pointer: &str| {
        let list = list(pointer).into_iter();
        list.filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    };
    let interfaces = list("/interfaces").into_iter().map(|value| IfInfo {
        name: text(&value, "name").unwrap_or_default(),
        mac: text(&value, "mac"),
        mtu: number(&value, "mtu"),
        sandbox: text(&value, "sandbox"),
        socket_path: text(&value, "socketPath"),
        pci_id: text(&value, "pciID"),
    });
    let ips = list("/ips").into_iter().map(|value| IpConfig {
        address: text(&value, "address").unwrap_or_default(),
        gateway: text(&value, "gateway"),
        if_index: number(&value, "interface"),
    });
    let routes = list("/routes").into_iter().map(|value| Route {
        dst: text(&value, "dst").unwrap_or_default(),
        gw: text(&value, "gw"),
        mtu: number(&value, "mtu"),
        adv_mss: number(&value, "advmss"),
        priority: number(&value, "priority"),
        table: number(&value, "table"),
        scope: number(&value, "scope"),
    });
    let domain = result.pointer("/dns/domain").and_then(Value::as_str);
    Outcome::new()
        .with_interfaces(interfaces.collect())
        .with_ips(ips.collect())
        .with_routes(routes.collect())
        .with_dns(Dns {
            nameservers: texts("/dns/nameservers"),
            domain: domain.map(str::to_owned),
            search: texts("/dns/search"),
            options: texts("/dns/options"),
        })
}
