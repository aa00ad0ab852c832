//! Results in all forms. Byte-exact expectations were printed by the Go library.

#![cfg(test)]

use cni_types::result::{CniResult, Dns, Error, Interface, IpConfig, Route};
use cni_types::version::{ConfVersion, Version};
use ipnet::IpNet;
use proptest::prelude::*;

fn parse(text: &str) -> Result<CniResult, Error> {
    CniResult::parse(text.as_bytes(), Version::V1_1_0.into())
}

#[track_caller]
fn check_converted(from: &str, version: Version, expected: &str) {
    let result = parse(from).expect("valid result");
    assert_eq!(result.to_raw(version).unwrap().get(), expected);
}

/// Every member of every version.
const FULL: &str = r#"{"cniVersion":"1.1.0","dns":{"domain":"d.example","nameservers":["10.9.0.53"],"options":["ndots:5"],"search":["s.example"]},"interfaces":[{"mac":"02:00:00:00:00:09","mtu":1450,"name":"eth0","pciID":"0000:00:1f.6","sandbox":"/run/netns/x","socketPath":"/run/s"},{"name":"veth0"}],"ips":[{"address":"10.9.0.2/24","gateway":"10.9.0.1","interface":0},{"address":"10.9.1.2/24"},{"address":"fd00::2/64","gateway":"fd00::1","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"10.9.0.1"},{"advmss":1410,"dst":"::/0","gw":"fd00::1","mtu":1400,"priority":7,"scope":0,"table":100}]}"#;

#[test]
fn to_1_x_sorts_and_drops_empty_members() {
    check_converted(FULL, Version::V1_1_0, FULL);
    check_converted(
        FULL,
        Version::V1_0_0,
        &FULL.replace("\"1.1.0\"", "\"1.0.0\""),
    );
    check_converted(
        r#"{"cniVersion":"1.0.0","interfaces":null,"ips":[],"dns":{"domain":"","search":[]},"more":[1]}"#,
        Version::V1_0_0,
        r#"{"cniVersion":"1.0.0"}"#,
    );
}

#[test]
fn to_0_4_0_drops_unsupported_members() {
    check_converted(
        FULL,
        Version::V0_4_0,
        r#"{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:09","sandbox":"/run/netns/x"},{"name":"veth0"}],"ips":[{"version":"4","interface":0,"address":"10.9.0.2/24","gateway":"10.9.0.1"},{"version":"4","address":"10.9.1.2/24"},{"version":"6","interface":0,"address":"fd00::2/64","gateway":"fd00::1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.9.0.1"},{"dst":"::/0","gw":"fd00::1","mtu":1400,"advmss":1410,"priority":7,"table":100,"scope":0}],"dns":{"nameservers":["10.9.0.53"],"domain":"d.example","search":["s.example"],"options":["ndots:5"]}}"#,
    );
}

#[test]
fn to_0_2_0_keeps_first_address_per_family() {
    check_converted(
        FULL,
        Version::V0_2_0,
        r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.9.0.2/24","gateway":"10.9.0.1","routes":[{"dst":"0.0.0.0/0","gw":"10.9.0.1"}]},"ip6":{"ip":"fd00::2/64","gateway":"fd00::1","routes":[{"dst":"::/0","gw":"fd00::1"}]},"dns":{"nameservers":["10.9.0.53"],"domain":"d.example","search":["s.example"],"options":["ndots:5"]}}"#,
    );
}

#[test]
fn an_old_result_goes_up() {
    check_converted(
        r#"{"cniVersion":"0.2.0","ip6":{"ip":"fd00::2/64"},"ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"10.1.0.0/16"}]},"dns":{}}"#,
        Version::V1_0_0,
        r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"},{"address":"fd00::2/64"}],"routes":[{"dst":"10.1.0.0/16"}]}"#,
    );
    check_converted(
        r#"{"cniVersion":"0.3.1","interfaces":[{"name":"a","mtu":9}],"ips":[{"version":"","interface":0,"address":"10.0.0.2/24"}]}"#,
        Version::V1_1_0,
        r#"{"cniVersion":"1.1.0","interfaces":[{"name":"a"}],"ips":[{"address":"10.0.0.2/24","interface":0}]}"#,
    );
}

#[test]
fn empty_dns_is_printed_before_1_0_0() {
    // Recorded from the Go library.
    let expected = r#"{
    "cniVersion": "0.3.1",
    "interfaces": [
        {
            "name": "eth0",
            "mac": "52:58:fd:3c:a5:b3",
            "sandbox": "/run/netns/x"
        }
    ],
    "ips": [
        {
            "version": "4",
            "interface": 0,
            "address": "10.77.0.5/16",
            "gateway": "10.77.0.1"
        }
    ],
    "routes": [
        {
            "dst": "0.0.0.0/0"
        }
    ],
    "dns": {}
}"#;
    let printed = parse(expected).unwrap().to_json(Version::V0_3_1).unwrap();
    assert_eq!(printed, expected);
}

#[test]
fn to_0_2_0_requires_an_address() {
    let result = parse(r#"{"cniVersion":"0.4.0","interfaces":[{"name":"a"}]}"#).unwrap();
    for version in [Version::V0_1_0, Version::V0_2_0] {
        assert!(
            matches!(result.to_raw(version), Err(Error::NoAddress { version: v }) if v == version)
        );
    }
}

#[test]
fn an_old_result_without_addresses_stays_one() {
    check_converted(
        r#"{"cniVersion":"0.1.0"}"#,
        Version::V0_2_0,
        r#"{"cniVersion":"0.2.0","dns":{}}"#,
    );
}

#[test]
fn result_without_version_uses_conf_version() {
    let read = |text: &str, conf: ConfVersion| {
        let result = CniResult::parse(text.as_bytes(), conf).unwrap();
        result.cni_version.to_string()
    };
    assert_eq!(read("{}", Version::V0_4_0.into()), "0.4.0");
    assert_eq!(
        read(r#"{"cniVersion":""}"#, Version::V1_0_0.into()),
        "1.0.0"
    );
    assert_eq!(read(" null\n", Version::V1_0_0.into()), "1.0.0");
    assert_eq!(read("{}", ConfVersion::MISSING), "0.1.0");
    assert_eq!(
        read(r#"{"cniVersion":"0.3.0"}"#, Version::V1_0_0.into()),
        "0.3.0"
    );
}

#[test]
fn empty_and_null_members_count_as_absent() {
    let result = parse(
        r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","mac":"","mtu":0,"sandbox":null}],"ips":[{"address":"10.0.0.2/24","gateway":"","interface":null}],"routes":[{"dst":"::/0","gw":null,"priority":0}],"dns":null}"#,
    )
    .unwrap();
    assert_eq!(
        result.to_raw(Version::V1_0_0).unwrap().get(),
        r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a"}],"ips":[{"address":"10.0.0.2/24"}],"routes":[{"dst":"::/0"}]}"#
    );
}

#[test]
fn ipv4_in_ipv6_form_becomes_ipv4() {
    let result =
        parse(r#"{"ips":[{"address":"::ffff:10.0.0.2/120","gateway":"::ffff:10.0.0.1"}]}"#)
            .unwrap();
    assert_eq!(result.ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(result.ips[0].gateway.unwrap().to_string(), "10.0.0.1");
}

#[test]
fn addresses_that_are_none_are_named() {
    for (text, key) in [
        (r#"{"ips":[{"address":"10.0.0.2"}]}"#, "ips[0].address"),
        (r#"{"ips":[{"address":"10.0.0.2/33"}]}"#, "ips[0].address"),
        (r#"{"ips":[{"address":"010.0.0.2/8"}]}"#, "ips[0].address"),
        (r#"{"ips":[{"address":"10.0.0.2/+8"}]}"#, "ips[0].address"),
        (
            r#"{"ips":[{"address":"fe80::1%eth0/64"}]}"#,
            "ips[0].address",
        ),
        (r#"{"ips":[{}]}"#, "ips[0].address"),
        (
            r#"{"ips":[{"address":"::/0","gateway":"x"}]}"#,
            "ips[0].gateway",
        ),
        (
            r#"{"routes":[{"dst":"::/0"},{"dst":"default"}]}"#,
            "routes[1].dst",
        ),
        (
            r#"{"routes":[{"dst":"::/0","gw":"1.2.3.4/8"}]}"#,
            "routes[0].gw",
        ),
        (r#"{"cniVersion":"0.2.0","ip4":{"ip":"x"}}"#, "ip4.ip"),
        (
            r#"{"cniVersion":"0.2.0","ip6":{"ip":"::/0","routes":[{"dst":"x"}]}}"#,
            "ip6.routes[0].dst",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(&error, Error::Address { key: k, .. } if k == key),
            "{text}: {error}"
        );
    }
}

#[test]
fn ip_with_unknown_interface_is_kept_as_printed() {
    for (interfaces, index) in [("[]", 0), (r#"[{"name":"a"}]"#, 7)] {
        let text = format!(
            r#"{{"interfaces":{interfaces},"ips":[{{"address":"10.0.0.2/24","interface":{index}}}]}}"#
        );
        let result = parse(&text).unwrap();
        assert_eq!(result.ips[0].interface, Some(index));
        let printed = result.to_json(Version::V1_1_0).unwrap();
        assert!(
            printed.contains(&format!("\"interface\": {index}")),
            "{printed}"
        );
    }
}

#[test]
fn negative_interface_index_means_none() {
    let text = r#"{"interfaces":[{"name":"a"}],"ips":[{"address":"10.0.0.2/24","interface":-1}]}"#;
    assert_eq!(parse(text).unwrap().ips[0].interface, None);
}

#[test]
fn malformed_results_are_rejected() {
    for text in [
        "",
        "[]",
        "\"x\"",
        "{",
        r#"{"ips":{}}"#,
        r#"{"ips":[null]}"#,
        r#"{"interfaces":[{"name":1}]}"#,
        r#"{"interfaces":[{"name":"a","mtu":-1}]}"#,
        r#"{"dns":{"nameservers":"x"}}"#,
        r#"{"cniVersion":1}"#,
    ] {
        assert!(matches!(parse(text), Err(Error::Json(_))), "{text}");
    }
    for text in [r#"{"cniVersion":"9.9.9"}"#, r#"{"cniVersion":"x"}"#] {
        assert!(matches!(parse(text), Err(Error::Version(_))), "{text}");
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 0u8..=32)
            .prop_map(|(ip, prefix)| IpNet::new(ip.into(), prefix).unwrap()),
        // All within fd00::/16: an IPv4-mapped address would not stay IPv6.
        (any::<[u16; 7]>(), 0u8..=128).prop_map(|(ip, prefix)| {
            let [a, b, c, d, e, f, g] = ip;
            let ip = std::net::Ipv6Addr::new(0xfd00, a, b, c, d, e, f, g);
            IpNet::new(ip.into(), prefix).unwrap()
        }),
    ]
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{1,8}")
}

fn any_interface() -> impl Strategy<Value = Interface> {
    (
        ".{0,8}",
        text(),
        prop::option::of(1u32..),
        text(),
        text(),
        text(),
    )
        .prop_map(|(name, mac, mtu, sandbox, socket_path, pci_id)| Interface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
        })
}

fn any_route() -> impl Strategy<Value = Route> {
    let number = || prop::option::of(1u32..);
    let zero = || prop::option::of(0u32..);
    (
        any_net(),
        prop::option::of(any_net()),
        number(),
        number(),
        number(),
        zero(),
        zero(),
    )
        .prop_map(|(dst, gw, mtu, advmss, priority, table, scope)| Route {
            dst,
            gw: gw.map(|net| net.addr()),
            mtu,
            advmss,
            priority,
            table,
            scope,
        })
}

/// `result` reduced to the members that a version supports.
fn lowered(result: &CniResult, has_place: Version, cni_version: Version) -> CniResult {
    let mut lowered = CniResult {
        cni_version,
        ..result.clone()
    };
    if has_place < Version::V1_0_0 {
        for interface in &mut lowered.interfaces {
            (interface.mtu, interface.socket_path, interface.pci_id) = (None, None, None);
        }
    }
    if has_place < Version::V0_3_0 {
        let (mut ips, mut routes) = (Vec::new(), Vec::new());
        for is_v4 in [true, false] {
            let of_family = |net: &IpNet| net.addr().is_ipv4() == is_v4;
            let Some(ip) = result.ips.iter().find(|ip| of_family(&ip.address)) else {
                continue;
            };
            ips.push(IpConfig {
                interface: None,
                ..ip.clone()
            });
            let of_family = result.routes.iter().filter(|route| of_family(&route.dst));
            routes.extend(of_family.map(|route| Route::new(route.dst, route.gw)));
        }
        (lowered.interfaces, lowered.ips, lowered.routes) = (Vec::new(), ips, routes);
    }
    lowered
}

prop_compose! {
    fn any_result()(
        version in prop::sample::select(Version::ALL.to_vec()),
        interfaces in prop::collection::vec(any_interface(), 0..4),
        ips in prop::collection::vec((any_net(), prop::option::of(any_net()), prop::option::of(0usize..8)), 0..5),
        routes in prop::collection::vec(any_route(), 0..4),
        nameservers in prop::collection::vec(".{0,5}", 0..3),
        search in prop::collection::vec(".{0,5}", 0..3),
        options in prop::collection::vec(".{0,5}", 0..3),
        domain in text(),
    ) -> CniResult {
        let len = interfaces.len();
        CniResult {
            cni_version: version,
            interfaces,
            ips: ips
                .into_iter()
                .map(|(address, gateway, interface)| IpConfig {
                    interface: interface.filter(|index| *index < len),
                    address,
                    gateway: gateway.map(|net| net.addr()),
                })
                .collect(),
            routes,
            dns: Dns { nameservers, domain, search, options },
        }
    }
}

proptest! {
    #[test]
    fn a_new_result_is_printed_as_it_is_read(result in any_result()) {
        for version in [Version::V1_0_0, Version::V1_1_0] {
            let printed = result.to_raw(version).unwrap();
            let read = CniResult::parse(printed.get().as_bytes(), ConfVersion::MISSING).unwrap();
            prop_assert_eq!(read, CniResult { cni_version: version, ..result.clone() });
        }
    }

    #[test]
    fn every_version_round_trips(result in any_result()) {
        for version in Version::ALL {
            let Ok(printed) = result.to_raw(version) else {
                prop_assert!(version < Version::V0_3_0 && result.ips.is_empty());
                continue;
            };
            let read = CniResult::parse(printed.get().as_bytes(), ConfVersion::MISSING).unwrap();
            prop_assert_eq!(read.cni_version, version);
            let again = read.to_raw(version).unwrap();
            prop_assert_eq!(again.get(), printed.get());
        }
    }

    #[test]
    fn ips_and_routes_survive_0_3_0_round_trip(result in any_result()) {
        for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0] {
            let down = result.to_raw(version).unwrap();
            let up = CniResult::parse(down.get().as_bytes(), ConfVersion::MISSING).unwrap();
            prop_assert_eq!(&up.ips, &result.ips);
            prop_assert_eq!(&up.routes, &result.routes);
            prop_assert_eq!(&up.dns, &result.dns);
            prop_assert_eq!(up.interfaces.len(), result.interfaces.len());
        }
    }

    #[test]
    fn conversion_loses_only_unsupported_members(result in any_result()) {
        for from in Version::ALL {
            let Ok(printed) = result.to_raw(from) else { continue };
            let read = CniResult::parse(printed.get().as_bytes(), ConfVersion::MISSING).unwrap();
            for to in Version::ALL {
                let Ok(converted) = read.to_raw(to) else {
                    prop_assert!(to < Version::V0_3_0 && from >= Version::V0_3_0 && read.ips.is_empty());
                    continue;
                };
                let converted = CniResult::parse(converted.get().as_bytes(), ConfVersion::MISSING).unwrap();
                prop_assert_eq!(converted, lowered(&read, from.min(to), to));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(text in "[{}\\[\\]\":,a-z0-9./]{0,40}") {
        let _ = parse(&text);
    }
}
