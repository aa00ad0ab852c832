//! Parsing of addresses in the spellings people use.

#![cfg(test)]

use cni_types::address::{canonical_mac, parse_cidr, parse_ip};
use proptest::prelude::*;

#[test]
fn hardware_addresses_have_one_form() {
    for text in ["02:AA:bb:cc:dd:ee", "02-aa-BB-cc-dd-ee", "02AA.bbcc.ddee"] {
        assert_eq!(canonical_mac(text).as_deref(), Some("02:aa:bb:cc:dd:ee"));
    }
    let guid = "c2:11:22:33:44:55:66:77";
    assert_eq!(canonical_mac(guid).as_deref(), Some(guid));
    let infiniband = ["80"; 20].join(":");
    assert_eq!(canonical_mac(&infiniband), Some(infiniband));
}

#[test]
fn malformed_hardware_addresses_are_none() {
    for text in [
        "",
        ":",
        "02:aa:bb:cc:dd",
        "02:aa:bb:cc:dd:ee:ff",
        "02:aa:bb:cc:dd:eg",
        "02:aa-bb:cc:dd:ee",
        "2:aa:bb:cc:dd:ee",
        "02aabbccddee",
        "02:aa:bb:cc:dd:ee ",
        "02:aa:bb:cc:dd:é",
        "é:aa:bb:cc:dd:ee",
    ] {
        assert_eq!(canonical_mac(text), None, "{text:?}");
    }
}

#[test]
fn an_address_keeps_its_host_part() {
    assert_eq!(
        parse_cidr("10.1.2.3/24").unwrap().to_string(),
        "10.1.2.3/24"
    );
    assert_eq!(
        parse_cidr("FD00::0:1/64").unwrap().to_string(),
        "fd00::1/64"
    );
    assert_eq!(parse_cidr("0.0.0.0/0").unwrap().to_string(), "0.0.0.0/0");
}

#[test]
fn ipv4_mapped_ipv6_becomes_ipv4() {
    assert_eq!(
        parse_cidr("::ffff:10.0.0.1/96").unwrap().to_string(),
        "10.0.0.1/0"
    );
    assert!(parse_cidr("::ffff:10.0.0.1/95").unwrap().addr().is_ipv6());
    assert_eq!(parse_ip("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1");
    assert_eq!(parse_ip("::1").unwrap().to_string(), "::1");
}

#[test]
fn sloppy_addresses_are_refused() {
    for text in [
        "",
        "/",
        "10.0.0.1",
        "10.0.0.1/",
        "/24",
        "10.0.0.1/024",
        "10.0.0.1/24/1",
        " 10.0.0.1/24",
        "10.1/8",
        "10.0.0.1/-1",
        "::/129",
        "256.0.0.1/8",
    ] {
        assert_eq!(parse_cidr(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn addresses_are_printed_as_they_are_read(ip in any::<std::net::IpAddr>(), prefix in 0u8..=128) {
        if let Some(read) = parse_cidr(&format!("{ip}/{prefix}")) {
            prop_assert_eq!(parse_cidr(&read.to_string()), Some(read));
        } else {
            prop_assert!(ip.is_ipv4() && prefix > 32);
        }
    }

    #[test]
    fn a_canonical_hardware_address_stays(bytes in prop::array::uniform6(any::<u8>())) {
        let text = bytes.map(|byte| format!("{byte:02x}")).join(":");
        prop_assert_eq!(canonical_mac(&text), Some(text));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,24}") {
        let _ = (parse_cidr(&text), parse_ip(&text), canonical_mac(&text));
    }
}
