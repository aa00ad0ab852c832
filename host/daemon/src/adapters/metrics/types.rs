//! Calls of delegates by plugin type. Tenants choose types in their networks' confs, so only types
//! that are well known or have succeeded here get a label of their own, and a bounded number.

use std::collections::BTreeSet;

use cni_types::conf::NetworkConfList;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// How many types beside the known ones get a label.
const MAX_OTHERS: usize = 16;
/// Longer names are counted as [`OTHER`].
const MAX_NAME: usize = 40;
const OTHER: &str = "other";
/// The reference plugins and widespread others.
const KNOWN: [&str; 26] = [
    "bandwidth",
    "bond",
    "bridge",
    "calico",
    "cilium-cni",
    "dhcp",
    "dummy",
    "firewall",
    "flannel",
    "host-device",
    "host-local",
    "ib-sriov",
    "ipvlan",
    "loopback",
    "macvlan",
    "ovs",
    "passthru",
    "portmap",
    "ptp",
    "rdma",
    "sbr",
    "sriov",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Called {
    r#type: String,
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Types {
    pub(super) calls: Family<Called, Counter>,
    others: Mutex<BTreeSet<String>>,
}

impl Types {
    /// Counts a call of a network's plugins, by the first one, which makes the interface.
    pub(super) fn count(&self, verb: &'static str, conf: &NetworkConfList, succeeded: bool) {
        let first = conf.plugins().first();
        let name = first.map_or(OTHER, |plugin| plugin.plugin_type().as_str());
        let called = Called {
            r#type: self.label(name, succeeded).to_owned(),
            verb,
            outcome: if succeeded { "success" } else { "failure" },
        };
        self.calls.get_or_create(&called).inc();
    }

    fn label<'a>(&self, name: &'a str, succeeded: bool) -> &'a str {
        if KNOWN.contains(&name) {
            return name;
        }
        let mut others = self.others.lock();
        let is_known = others.contains(name);
        if !is_known && (!succeeded || others.len() >= MAX_OTHERS || name.len() > MAX_NAME) {
            return OTHER;
        }
        if !is_known {
            others.insert(name.to_owned());
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_tenants_invent_share_a_label() {
        let types = Types::default();
        assert_eq!(types.label("macvlan", false), "macvlan");
        assert_eq!(types.label("invented", false), OTHER);
        assert_eq!(types.label("own", true), "own");
        assert_eq!(types.label("own", false), "own");
        for number in 0..2 * MAX_OTHERS {
            types.label(&format!("x{number}"), true);
        }
        assert_eq!(types.label("late", true), OTHER);
        assert_eq!(types.label(&"l".repeat(100), true), OTHER);
        assert_eq!(types.label("own", true), "own");
    }
}
