use std::sync::Arc;

use super::super::{Budget, Working};
use super::*;
use crate::model::grant::ConfGrant;
use cni_types::json::Limits;

const BUDGET: Budget = Budget::of(10, 1 << 16);
const CHAIN: &str = r#"{"plugins":[{"type":"macvlan","ipam":{"type":"static"},"args":{"cni":{}}},
    {"type":"bandwidth","sysctl":{}}]}"#;

mod cost;

type Edit<'a> = &'a dyn Fn(&AttachmentDraft) -> Result<AttachmentChange, EditError>;

/// Whether the second policy's edit conflicts with the first one's.
fn conflict(first: Edit<'_>, second: Edit<'_>) -> bool {
    conflict_in(CHAIN, first, second)
}

pub(super) fn attachment(conf: &str) -> PolicyAttachment {
    let conf = Document::parse(conf, Limits::default()).unwrap();
    PolicyAttachment::new("default/storage", "net1", conf)
}

fn conflict_in(conf: &str, first: Edit<'_>, second: Edit<'_>) -> bool {
    let draft = AttachmentDraft::new(attachment(conf), Arc::default());
    let mut working = Working::new(draft);
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    transaction.edit(1, first).unwrap();
    let staged = working.staged(transaction);
    working.commit(&owner, staged);
    let mut transaction = working.begin("second".into(), BUDGET);
    match transaction.edit(1, second) {
        Ok(()) => false,
        Err(EditError::Conflict { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

fn set(
    pointer: &'static str,
    json: &'static str,
) -> impl Fn(&AttachmentDraft) -> Result<AttachmentChange, EditError> {
    move |draft| draft.conf_set(pointer, json, &ConfGrant::default())
}

#[test]
fn a_value_has_one_owner_by_whatever_way() {
    let check = |one: Edit<'_>, other: Edit<'_>, expected: bool| {
        assert_eq!(conflict(one, other), expected);
        assert_eq!(conflict(other, one), expected);
    };
    let ips: Edit<'_> = &|draft| draft.set_ips(&["10.0.0.1/24".to_owned()]);
    let mac: Edit<'_> = &|draft| draft.set_mac(Some("02:00:00:00:00:01"));
    let guid: Edit<'_> = &|draft| draft.set_infiniband_guid(Some("02:00:00:00:00:00:00:01"));
    let bandwidth: Edit<'_> = &|draft| {
        draft.set_bandwidth(Some(Bandwidth {
            ingress_rate: 1,
            ingress_burst: 1,
            ..Bandwidth::default()
        }))
    };
    let arg = |key: &'static str| move |draft: &AttachmentDraft| draft.set_cni_arg(key, "1");

    check(&arg("x"), &set("/plugins/0/args/cni/x", "2"), true);
    check(
        &arg("x"),
        &set("/plugins/1/args", r#"{"cni":{"X":2}}"#),
        true,
    );
    check(
        &arg("x"),
        &set("/plugins/1/args", r#"{"cni":{"y":2}}"#),
        false,
    );
    check(
        &arg("x"),
        &|draft: &AttachmentDraft| draft.set_cni_arg("X", "2"),
        true,
    );
    check(&arg("x"), &arg("y"), false);
    check(ips, &arg("ips"), true);
    check(ips, &set("/plugins/0/ipam/addresses", "[]"), true);
    check(ips, &set("/plugins/0/ipam/routes", "[]"), false);
    check(ips, &set("/plugins/0/args/cni/IPs", "[]"), true);
    check(mac, &set("/plugins/0/mac", r#""02:00:00:00:00:02""#), true);
    check(mac, &set("/plugins/0/MAC", r#""02:00:00:00:00:02""#), true);
    check(mac, &arg("mac"), true);
    check(mac, ips, false);
    check(guid, &set("/plugins/0/guid", r#""x""#), true);
    check(guid, &arg("guid"), true);
    check(bandwidth, &set("/plugins/1/ingressRate", "5"), true);
    check(bandwidth, &set("/plugins/1/other", "5"), false);
}

#[test]
fn an_argument_and_a_key_are_one_value() {
    let check = |key: &str, json: &str, pointer: &str, other: &str, expected: bool| {
        let (grants, arg) = (all(), json);
        let one: Edit<'_> = &|draft| draft.conf_set(pointer, other, &grants);
        let other: Edit<'_> = &|draft| draft.set_cni_arg(key, arg);
        assert_eq!(conflict(one, other), expected, "{pointer} {key}");
        assert_eq!(conflict(other, one), expected, "{key} {pointer}");
    };
    for key in ["mac", "mtu", "promisc", "allmulti", "txQLen", "vlan", "dns"] {
        check(key, "1", &format!("/plugins/0/{key}"), "2", true);
        check(key, "1", &format!("/plugins/0/args/cni/{key}"), "2", true);
        let folded = format!("/plugins/1/{}", key.to_uppercase());
        check(key, "1", &folded, "2", true);
        let delegate = format!(r#"{{"{key}":2}}"#);
        check(key, "1", "/plugins/1/delegate", &delegate, true);
    }
    check("ips", "[]", "/plugins/0/ipam/addresses", "[1]", true);
    check("ips", "[]", "/plugins/0/ipam/Addresses", "[1]", true);
    check("ips", "[]", "/plugins/0/ipam/subnet", "1", false);
    check("guid", "1", "/plugins/0/infinibandGUID", "2", true);
    check("infinibandGUID", "1", "/plugins/0/guid", "2", true);
    check("mac", "1", "/plugins/1/mtu", "2", false);
    let sysctl = r#"{"net.a":"1"}"#;
    check("sysctl", sysctl, "/plugins/1/sysctl/net.a", "2", true);
    check("sysctl", sysctl, "/plugins/1/sysctl/net.b", "2", false);
    for key in [
        "net.ipv4.conf.net1.rp_filter",
        "net/ipv4/conf/IFNAME/rp_filter",
    ] {
        let sysctl = format!(r#"{{"{key}":"1"}}"#);
        let pointer = |key: &str| format!("/plugins/1/sysctl/{}", key.replace('/', "~1"));
        check(
            "sysctl",
            &sysctl,
            &pointer("net/ipv4/conf/net1/rp_filter"),
            "2",
            true,
        );
        check(
            "sysctl",
            &sysctl,
            &pointer("net.ipv4.conf.IFNAME.rp_filter"),
            "2",
            true,
        );
        check(
            "sysctl",
            &sysctl,
            &pointer("net.ipv4.conf.net2.rp_filter"),
            "2",
            false,
        );
    }
    // A whole plugin that is added has the key as well.
    let plugin = r#"{"type":"bandwidth","mac":"x","args":{"cni":{"x":1}}}"#;
    check("mac", "1", "/plugins/2", plugin, true);
    check("x", "1", "/plugins/2", plugin, true);
    check("y", "1", "/plugins/2", plugin, false);
}

#[test]
fn names_of_one_value_are_one_value() {
    let check = |one: &str, other: &str, expected: bool| {
        let grants = all();
        let first: Edit<'_> = &|draft| draft.conf_set(one, "1", &grants);
        let second: Edit<'_> = &|draft| draft.conf_set(other, "2", &grants);
        assert_eq!(conflict(first, second), expected, "{one} {other}");
        assert_eq!(conflict(second, first), expected, "{other} {one}");
    };
    check("/plugins/0/guid", "/plugins/0/infinibandGUID", true);
    check(
        "/plugins/0/guid",
        "/plugins/0/args/cni/infinibandguid",
        true,
    );
    check("/plugins/0/deviceID", "/plugins/0/pciBusID", true);
    check("/plugins/0/mac", "/plugins/1/mac", true);
    check("/plugins/0/promisc", "/plugins/0/args/cni/promisc", true);
    check("/plugins/0/promisc", "/plugins/0/allmulti", false);
    check("/plugins/0/x", "/plugins/1/x", false);
    check("/plugins/0/dns", "/plugins/0/ipam/dns", true);
    check("/plugins/0/ipam/subnet", "/plugins/0/ipam/ranges", true);
    check("/plugins/0/ipam/range", "/plugins/0/ipam/ipRanges", true);
    check(
        "/plugins/0/ipam/subnet",
        "/plugins/0/args/cni/ipRanges",
        true,
    );
    check("/plugins/0/ipam/subnet", "/plugins/0/ipam/routes", false);
    check("/plugins/0/ipam/addresses", "/plugins/0/ipam/ips", true);
    let sysctl = |key: &str| format!("/plugins/1/sysctl/{key}");
    let name = sysctl("net.ipv4.conf.net1.arp_ignore");
    check(&name, &sysctl("net~1ipv4~1conf~1net1~1arp_ignore"), true);
    check(&name, &sysctl("net.ipv4.conf.IFNAME.arp_ignore"), true);
    check(&name, &sysctl("net.ipv4.conf.IFNAME.arp_notify"), false);
}

#[test]
fn a_port_at_overlapping_addresses_is_one() {
    let port = |protocol: &'static str, ip: Option<&'static str>| {
        move |draft: &AttachmentDraft| {
            let mut mappings = draft.attachment().port_mappings.clone();
            mappings.push(PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: Some(protocol.to_owned()),
                host_ip: ip.map(str::to_owned),
            });
            draft.set_port_mappings(&mappings)
        }
    };
    let check = |one: Edit<'_>, other: Edit<'_>, expected: bool| {
        assert_eq!(conflict(one, other), expected);
        assert_eq!(conflict(other, one), expected);
    };
    let at = |ip| port("tcp", Some(ip));
    check(&port("tcp", None), &at("10.0.0.1"), true);
    check(&port("tcp", None), &at("fd00::1"), true);
    check(&at("0.0.0.0"), &at("10.0.0.1"), true);
    check(&at("0.0.0.0"), &at("fd00::1"), false);
    check(&at("10.0.0.2"), &at("10.0.0.1"), false);
    check(&port("udp", None), &at("10.0.0.1"), false);
}

fn all() -> ConfGrant {
    ConfGrant::of(&["bandwidth"], &ConfGrant::MEMBERS)
}

#[test]
fn an_mtu_has_one_owner_in_any_case() {
    let mtu: Edit<'_> = &|draft| draft.set_mtu(1400);
    assert!(conflict(mtu, &set("/plugins/0/MTU", "1500")));
    assert!(!conflict(mtu, &set("/plugins/0/MTU", "1400")));
    assert!(conflict(&set("/plugins/0/MTU", "1500"), mtu));
    // Another plugin of the chain sets the same interface's.
    assert!(conflict(mtu, &set("/plugins/1/mtu", "1500")));
    assert!(conflict(mtu, &|draft| draft.set_cni_arg("MTU", "1500")));
}

#[test]
fn a_value_that_is_set_as_it_was_has_an_owner() {
    let conf = r#"{"type":"macvlan","mtu":1400,"promisc":false,"ipam":{"subnet":"10.0.0.0/24"},
        "dns":{"domain":"x"}}"#;
    let check = |one: Edit<'_>, other: Edit<'_>, expected: bool| {
        assert_eq!(conflict_in(conf, one, other), expected);
    };
    let mtu: Edit<'_> = &|draft| draft.set_mtu(1400);
    check(mtu, &set("/mtu", "9000"), true);
    check(mtu, mtu, false);
    check(mtu, &set("/mtu", "1400"), false);
    check(mtu, &|draft| draft.set_cni_arg("mtu", "9000"), true);
    check(&set("/MTU", "1400"), &|draft| draft.set_mtu(9000), true);
    let removal = |pointer: &'static str| {
        move |draft: &AttachmentDraft| draft.conf_remove(pointer, &ConfGrant::default())
    };
    check(&set("/promisc", "false"), &set("/promisc", "true"), true);
    check(&set("/promisc", "false"), &removal("/promisc"), true);
    check(&set("/promisc", "false"), &set("/allmulti", "true"), false);
    let subnet = set("/ipam/subnet", r#""10.0.0.0/24""#);
    check(&subnet, &set("/ipam/subnet", r#""10.1.0.0/24""#), true);
    let dns = set("/dns", r#"{"domain":"x"}"#);
    check(&dns, &set("/dns/domain", r#""y""#), true);
    check(&dns, &set("/dns/search", "[]"), false);
    let mac: Edit<'_> = &|draft| draft.set_mac(Some("02:00:00:00:00:01"));
    check(&|draft| draft.set_mac(None), mac, true);
    check(
        &|draft| draft.set_if_name("net1"),
        &|draft| draft.set_if_name("x"),
        true,
    );
}

#[test]
fn what_is_set_and_taken_away_again_is_free() {
    let mut working = Working::new(AttachmentDraft::new(attachment("{}"), Arc::default()));
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    let (grants, vlan) = (ConfGrant::default(), set("/vlan", "5"));
    transaction.edit(1, vlan).unwrap();
    transaction
        .edit(1, |draft| draft.conf_remove("/vlan", &grants))
        .unwrap();
    let staged = working.staged(transaction);
    assert!(working.commit(&owner, staged).is_none());
    let mut transaction = working.begin("second".into(), BUDGET);
    transaction.edit(1, set("/vlan", "7")).unwrap();
}

#[test]
fn arguments_that_replace_a_subtree_conflict() {
    let deeper = set("/plugins/0/args/cni/x", r#"{"y":1}"#);
    let arg: Edit<'_> = &|draft| draft.set_cni_arg("x", r#"{"z":1}"#);
    assert!(conflict(&deeper, arg));
    assert!(conflict(arg, &set("/plugins/1/args", "7")));
}

#[test]
fn many_members_are_owned_one_by_one() {
    let draft = AttachmentDraft::new(attachment(CHAIN), Arc::default());
    let mut working = Working::new(draft);
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), Budget::of(100, 1 << 16));
    for number in 0..50 {
        let pointer = format!("/plugins/1/sysctl/k{number}");
        transaction
            .edit(1, |draft| draft.conf_set(&pointer, "1", &all()))
            .unwrap();
    }
    assert_eq!(transaction.areas.len(), 1);
    let staged = working.staged(transaction);
    working.commit(&owner, staged).unwrap();
    let mut second = working.begin("second".into(), BUDGET);
    let change = |pointer: &str| {
        let pointer = pointer.to_owned();
        move |draft: &AttachmentDraft| draft.conf_set(&pointer, "2", &all())
    };
    second.edit(1, change("/plugins/1/sysctl/k7")).unwrap_err();
    second.edit(1, change("/plugins/1/sysctl/other")).unwrap();
    second
        .edit(1, |draft| draft.conf_remove("/plugins/1/sysctl", &all()))
        .unwrap_err();
}

#[test]
fn a_skip_is_an_edit_of_all() {
    let skip: Edit<'_> = &|draft| draft.skip();
    for edit in [
        &set("/plugins/0/vlan", "5") as Edit<'_>,
        &|draft| draft.set_mac(Some("02:00:00:00:00:01")),
        &|draft| draft.set_cni_arg("x", "1"),
        &|draft| draft.set_if_name("storage0"),
    ] {
        assert!(conflict(edit, skip));
    }
    let gone: Edit<'_> = &|draft| {
        draft.conf_remove(
            "/plugins/1/sysctl",
            &crate::model::grant::ConfGrant::default(),
        )
    };
    assert!(!conflict(gone, skip), "it stays away");
}

#[test]
fn a_delegates_conf_is_another_way() {
    let conf = r#"{"type":"flannel","delegate":{"ipam":{},"args":{"cni":{}}},"ipam":{},"args":{"cni":{}}}"#;
    for (one, json, other, nested) in [
        ("/mtu", "1400", "/delegate/mtu", "9000"),
        ("/vlan", "5", "/delegate", r#"{"vlan":7}"#),
        ("/ipam/subnet", "1", "/delegate/ipam/subnet", "2"),
        ("/args/cni/x", "1", "/delegate/args/cni/x", "2"),
    ] {
        let (one, other) = (set(one, json), set(other, nested));
        assert!(conflict_in(conf, &one, &other));
        assert!(conflict_in(conf, &other, &one));
    }
    let (one, other) = (set("/delegate/a", "1"), set("/delegate/b", "2"));
    assert!(!conflict_in(conf, &one, &other));
    let mtu: Edit<'_> = &|draft| draft.set_mtu(1400);
    let conf = r#"{"type":"bridge","delegate":{}}"#;
    assert!(conflict_in(conf, mtu, &set("/delegate/mtu", "9000")));
}

#[test]
fn ranges_and_their_parts_have_one_owner() {
    let check = |one: &'static str, other: &'static str, expected: bool| {
        let (one, other) = (set(one, "1"), set(other, "2"));
        assert_eq!(conflict(&one, &other), expected);
        assert_eq!(conflict(&other, &one), expected);
    };
    check("/plugins/0/ipam/rangeStart", "/plugins/0/ipam/ranges", true);
    check("/plugins/0/ipam/exclude", "/plugins/0/ipam/ipRanges", true);
    check("/plugins/0/ipam/range_start", "/plugins/0/ipam/range", true);
    check("/plugins/0/ipam/gateway", "/plugins/0/ipam/ranges", true);
    check(
        "/plugins/0/ipam/rangeStart",
        "/plugins/0/ipam/rangeEnd",
        false,
    );
    check(
        "/plugins/0/ipam/rangeStart",
        "/plugins/0/ipam/routes",
        false,
    );
    check("/plugins/0/isGateway", "/plugins/0/isDefaultGateway", true);
    let conf = r#"{"type":"t","ipam":{"type":"host-local","subnet":"10.0.0.0/24"}}"#;
    let gone: Edit<'_> = &|draft| draft.conf_remove("/ipam/subnet", &ConfGrant::default());
    assert!(conflict_in(conf, &set("/ipam/rangeStart", "1"), gone));
}

#[test]
fn the_kernels_ipv6_mtu_is_the_mtu() {
    let conf = r#"{"plugins":[{"type":"bridge"},{"type":"tuning","sysctl":{}}]}"#;
    let mtu: Edit<'_> = &|draft| draft.set_mtu(1400);
    let check = |pointer: &'static str, expected: bool| {
        let sysctl = set(pointer, r#""9000""#);
        assert_eq!(conflict_in(conf, mtu, &sysctl), expected, "{pointer}");
        assert_eq!(conflict_in(conf, &sysctl, mtu), expected, "{pointer}");
    };
    check("/plugins/1/sysctl/net.ipv6.conf.IFNAME.mtu", true);
    check("/plugins/1/sysctl/net~1ipv6~1conf~1net1~1mtu", true);
    check("/plugins/1/sysctl/net.ipv6.conf.other.mtu", false);
}

#[test]
fn a_port_is_mapped_by_one_policy() {
    let map = |mappings: Vec<(u16, Option<&'static str>)>| {
        let mappings: Vec<PortMapping> = mappings
            .into_iter()
            .map(|(container_port, host_ip)| PortMapping {
                host_port: 8080,
                container_port,
                protocol: Some("tcp".to_owned()),
                host_ip: host_ip.map(str::to_owned),
            })
            .collect();
        move |draft: &AttachmentDraft| draft.set_port_mappings(&mappings)
    };
    let guard = map(vec![(80, None)]);
    for other in [
        vec![(80, None), (82, None)],
        vec![(82, None), (80, None)],
        vec![(80, None), (82, Some("10.0.0.1"))],
    ] {
        assert!(conflict(&guard, &map(other.clone())), "{other:?}");
    }
    assert!(!conflict(&guard, &map(vec![(80, None)])));
    let guard = map(vec![(80, Some("10.0.0.1"))]);
    let mapped = map(vec![(80, Some("10.0.0.1")), (82, Some("::ffff:10.0.0.1"))]);
    assert!(conflict(&guard, &mapped));
}
