//! Lists every way to each value of an attachment with one plugin, in the simplest correct way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use cni_types::json::Node;

use super::naive::{flat, fold};
use crate::model::request::PolicyAttachment;
use crate::transaction::sysctl_setting as setting;

/// A value and one way to it.
type Way = (String, String);
/// What is found there.
pub(super) type Ways = BTreeMap<Way, String>;

/// The policies that changed a value in each way.
#[derive(Default)]
pub(super) struct Owners(BTreeMap<Way, BTreeSet<Arc<str>>>);

impl Owners {
    /// Whether a difference between the two changes a value that another policy set in another way.
    pub(super) fn violated(&self, owner: &str, old: &Ways, new: &Ways) -> bool {
        changed(old, new).any(|(value, way)| {
            self.0.iter().any(|((other, claimed), owners)| {
                *other == value
                    && owners.iter().any(|other| **other != *owner)
                    && are_one(claimed, &way)
            })
        })
    }

    pub(super) fn record(&mut self, owner: &Arc<str>, old: &Ways, new: &Ways) {
        for way in changed(old, new) {
            self.0.entry(way).or_default().insert(Arc::clone(owner));
        }
    }
}

fn changed(old: &Ways, new: &Ways) -> impl Iterator<Item = Way> {
    let all: BTreeSet<Way> = old.keys().chain(new.keys()).cloned().collect();
    let differs = |way: &Way| old.get(way) != new.get(way);
    all.into_iter()
        .filter(differs)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether two ways to one name lead to one value, but not to one place.
fn are_one(one: &str, other: &str) -> bool {
    let ip = |way: &str| Some(way.strip_prefix("ip ")?.parse::<IpAddr>().ok());
    match (ip(one), ip(other)) {
        _ if one == other => false,
        (Some(Some(one)), Some(Some(other))) => {
            one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
        }
        _ => true,
    }
}

/// All ways to all values.
pub(super) fn ways(attachment: &PolicyAttachment) -> Ways {
    let mut ways = Ways::new();
    let conf_members = members(Some(attachment.conf.root()));
    // These hold values of their own, or other plugins.
    let holders = ["args", "delegate", "ipam", "plugins"];
    for (key, text) in conf_members {
        if holders.contains(&&*key) {
            continue;
        }
        ways.insert((meaning(&key), format!("key {key}")), text);
    }
    let conf = Some(attachment.conf.root());
    let ipam = below(conf, "ipam");
    let parts = [
        "rangestart",
        "rangeend",
        "range_start",
        "range_end",
        "exclude",
        "gateway",
    ];
    for (key, text) in members(ipam.as_ref()) {
        if parts.contains(&&*key) {
            ways.insert(
                (format!("part {key}"), "ipam part".to_owned()),
                text.clone(),
            );
        }
        if ["subnet", "ranges", "range", "ipranges"].contains(&&*key) {
            for part in parts {
                ways.insert(
                    (format!("part {part}"), format!("ipam {key}")),
                    text.clone(),
                );
            }
        }
        let value = match &*key {
            "addresses" | "ips" => "ips",
            "dns" => "dns",
            "subnet" | "ranges" | "range" | "ipranges" => "ipranges",
            _ => continue,
        };
        ways.insert((value.to_owned(), format!("ipam {key}")), text);
    }
    let args = below(below(conf, "args").as_ref(), "cni");
    let own = attachment.cni_args.as_ref().map(|args| args.root());
    for (way, args) in [("conf", args.as_ref()), ("cni", own)] {
        for (key, text) in members(args) {
            ways.insert((meaning(&key), format!("{way} {key}")), text);
        }
        for (key, text) in members(below(args, "sysctl").as_ref()) {
            let value = format!("sysctl {}", setting(&key, &attachment.if_name));
            ways.insert((value, format!("{way} {key}")), text);
        }
    }
    for (key, text) in members(below(conf, "sysctl").as_ref()) {
        if setting(&key, &attachment.if_name) == "net/ipv6/conf/ifname/mtu" {
            ways.insert(("mtu".to_owned(), format!("key {key}")), text.clone());
        }
        let value = format!("sysctl {}", setting(&key, &attachment.if_name));
        ways.insert((value, format!("key {key}")), text);
    }
    // Tuning merges the members, which were listed one by one.
    ways.retain(|(value, _), _| value != "sysctl");
    let mut typed = |value: &str, text: String| {
        ways.insert((value.to_owned(), "typed".to_owned()), text);
    };
    let ips: BTreeSet<&String> = attachment.ips.iter().collect();
    typed("ips", format!("{ips:?}"));
    typed("mac", format!("{:?}", attachment.mac));
    typed("guid", format!("{:?}", attachment.infiniband_guid));
    for value in ["ingressrate", "ingressburst", "egressrate", "egressburst"] {
        typed(value, format!("{:?}", attachment.bandwidth));
    }
    for mapping in &attachment.port_mappings {
        let value = format!("port {}/{}", mapping.host_port, mapping.protocol());
        let way = format!("ip {}", mapping.host_ip.as_deref().unwrap_or("*"));
        ways.insert((value, way), format!("{mapping:?}"));
    }
    ways
}

fn meaning(key: &str) -> String {
    match key {
        "infinibandguid" | "infiniband-guid" => "guid",
        "deviceid" | "pcibusid" | "hwaddr" | "kernelpath" => "device",
        "isdefaultgateway" => "isgateway",
        key => key,
    }
    .to_owned()
}

/// The members of an object by folded key, as text.
fn members(node: Option<&Node>) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, Vec<(String, Node)>> = BTreeMap::new();
    if let Some(Node::Object(members)) = node {
        for (key, value) in members {
            let group = found.entry(fold(key)).or_default();
            group.push((key.clone(), value.clone()));
        }
    }
    let text = |group| format!("{:?}", flat(&Node::Object(group)));
    let found = found.into_iter().map(|(key, group)| (key, text(group)));
    found.collect()
}

fn below(node: Option<&Node>, key: &str) -> Option<Node> {
    let Some(Node::Object(members)) = node else {
        return None;
    };
    let found = members.iter().rev().find(|(known, _)| fold(known) == key);
    found.map(|(_, value)| value.clone())
}
