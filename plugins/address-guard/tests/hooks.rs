//! Tests of the policy with the SDK's native structs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use address_guard::{AddressGuard, code};
use cnidaria_guest::prelude::*;
use cnidaria_guest::testing;

const SETTINGS: &str = r#"{"namespaces":{"team-a":["10.20.0.0/16","fd00:a::/64"],"team-b":[]}}"#;

fn policy() -> AddressGuard {
    testing::configure(SETTINGS).unwrap()
}

fn selections(ips: &[&str]) -> Selections {
    Selections::new(vec![Selection {
        ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        ..Selection::new("team-a", "storage")
    }])
}

fn storage() -> Attachment {
    Attachment::new("team-a/storage", "net1", r#"{"type":"macvlan"}"#)
}

/// A plan with the default network and another one.
fn plan(attachment: Attachment) -> Plan {
    let default = Attachment::new("default", "eth0", r#"{"type":"bridge"}"#).as_default();
    Plan::new(
        [default, attachment]
            .map(|one| (one, Outcome::new()))
            .into(),
    )
}

#[test]
fn namespace_gets_only_its_own_addresses() {
    let check = |namespace: &str, ips: &[&str], expected: Result<(), u32>| {
        let request = Request::add(namespace, "web-1");
        let selected = policy()
            .validate_selections(&request, &selections(ips))
            .map_err(|denial| denial.code);
        assert_eq!(selected, expected, "{namespace} {ips:?}");
        let attachment = storage().with_ips(ips);
        let added = policy()
            .validate_plan(&request, &plan(attachment))
            .map_err(|denial| denial.code);
        assert_eq!(added, expected, "{namespace} {ips:?}");
    };
    check("team-a", &[], Ok(()));
    check("team-a", &["10.20.1.2/24"], Ok(()));
    check("team-a", &["10.20.1.2", "fd00:a::9/64"], Ok(()));
    check(
        "team-a",
        &["10.20.1.2", "10.21.1.2"],
        Err(code::NOT_ALLOWED),
    );
    check("team-b", &["10.20.1.2"], Err(code::NOT_ALLOWED));
    check("team-c", &["10.20.1.2"], Err(code::NOT_ALLOWED));
    check("team-c", &[], Ok(()));
    check("team-a", &["10.20.1"], Err(code::MALFORMED));
}

#[test]
fn a_star_stands_for_all_other_namespaces() {
    let policy: AddressGuard =
        testing::configure(r#"{"namespaces":{"team-b":[],"*":["10.0.0.0/8"]}}"#).unwrap();
    policy
        .validate_selections(&Request::add("team-z", "p"), &selections(&["10.9.9.9"]))
        .unwrap();
    policy
        .validate_selections(&Request::add("team-b", "p"), &selections(&["10.9.9.9"]))
        .unwrap_err();
}

#[test]
fn the_default_network_counts_as_well() {
    let check = |ip: &str, is_allowed: bool| {
        let default = Selection {
            ips: vec![ip.to_owned()],
            ..Selection::new("team-a", "storage")
        };
        let networks = Selections::new(Vec::new()).with_default(default);
        let verdict = policy().validate_selections(&Request::add("team-a", "p"), &networks);
        assert_eq!(verdict.is_ok(), is_allowed, "{ip}");
    };
    check("10.20.1.2/24", true);
    check("10.21.1.2/24", false);
}

#[test]
fn addresses_in_cni_args_count_as_well() {
    let request = Request::add("team-a", "web-1");
    let check = |args: &str, expected: Result<(), u32>| {
        let selection = Selection {
            cni_args: Some(args.to_owned()),
            ..Selection::new("team-a", "storage")
        };
        let selected = policy().validate_selections(&request, &Selections::new(vec![selection]));
        assert_eq!(selected.map_err(|denial| denial.code), expected, "{args}");
        let added = policy().validate_plan(&request, &plan(storage().with_cni_args(args)));
        assert_eq!(added.map_err(|denial| denial.code), expected, "{args}");
    };
    check(r#"{"ips":["10.20.1.2/24"]}"#, Ok(()));
    check(r#"{"vlan":7}"#, Ok(()));
    check(r#"{"ips":["10.21.1.2/24"]}"#, Err(code::NOT_ALLOWED));
    check(r#"{"IPs":["10.21.1.2/24"]}"#, Err(code::NOT_ALLOWED));
    check("{\"ip\u{17f}\":[\"10.21.1.2/24\"]}", Err(code::NOT_ALLOWED));
    check(r#"{"ips":null}"#, Ok(()));
    check(r#"{"ips":"10.21.1.2/24"}"#, Err(code::MALFORMED));
    check("[]", Err(code::MALFORMED));
}

#[test]
fn a_denial_says_who_what_and_where() {
    let denial = policy()
        .validate_plan(
            &Request::add("team-a", "web-1"),
            &plan(storage().with_ips(&["192.0.2.1"])),
        )
        .unwrap_err();
    assert_eq!(
        denial.message,
        "namespace team-a may not have address 192.0.2.1 on network team-a/storage"
    );
    assert_eq!(
        denial.details.as_deref(),
        Some("it may have 10.20.0.0/16, fd00:a::/64")
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let check = |settings, part: &str| {
        let reason = testing::configure::<AddressGuard>(settings).unwrap_err();
        assert!(reason.contains(part), "{settings}: {reason}");
    };
    check("{}", "missing field `namespaces`");
    check(
        r#"{"namespaces":{},"default":"deny"}"#,
        "unknown field `default`",
    );
    check(
        r#"{"namespaces":{"a":["10.0.0.1/8"]}}"#,
        "bits set after its prefix",
    );
    check(r#"{"namespaces":{"a":"10.0.0.0/8"}}"#, "invalid type");
}
