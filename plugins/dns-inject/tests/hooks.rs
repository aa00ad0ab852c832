//! Tests of the policy with the SDK's native structs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use cnidaria_guest::prelude::*;
use cnidaria_guest::testing;
use dns_inject::DnsInject;

fn policy(settings: &str) -> DnsInject {
    testing::configure(settings).unwrap()
}

fn cluster() -> Attachment {
    Attachment::new("cluster", "eth0", r#"{"type":"bridge"}"#).as_default()
}

fn storage() -> Attachment {
    Attachment::new("default/storage", "net1", r#"{"type":"macvlan"}"#)
}

fn answered(nameservers: &[&str]) -> Outcome {
    Outcome::new().with_dns(Dns {
        nameservers: nameservers
            .iter()
            .map(|server| (*server).to_owned())
            .collect(),
        ..Dns::EMPTY
    })
}

fn pod() -> Request {
    Request::add("default", "web-1")
}

#[test]
fn default_network_gets_the_dns_settings() {
    let outcome = answered(&["10.0.0.1"]);
    let policy =
        policy(r#"{"nameservers":["10.96.0.10"],"search":["corp.example"],"options":["ndots:5"]}"#);
    policy.after_add(&pod(), &cluster(), &outcome).unwrap();
    let dns = outcome.dns();
    assert_eq!(dns.nameservers, ["10.0.0.1", "10.96.0.10"]);
    assert_eq!(dns.search, ["corp.example"]);
    assert_eq!(dns.options, ["ndots:5"]);
}

#[test]
fn only_listed_networks_are_edited() {
    let check = |networks: &str, concerned: bool| {
        let outcome = answered(&[]);
        let settings = format!(r#"{{"nameservers":["10.96.0.10"],"networks":{networks}}}"#);
        policy(&settings)
            .after_add(&pod(), &storage(), &outcome)
            .unwrap();
        assert_eq!(
            !outcome.dns().nameservers.is_empty(),
            concerned,
            "{networks}"
        );
    };
    check("[]", false);
    check(r#"["storage"]"#, true);
    check(r#"["default/storage"]"#, true);
    check(r#"["other/storage"]"#, false);
}

#[test]
fn additions_can_be_asked_first() {
    let outcome = answered(&["10.0.0.1"]);
    let policy = policy(r#"{"nameservers":["10.96.0.10","10.96.0.11"],"position":"first"}"#);
    policy.after_add(&pod(), &cluster(), &outcome).unwrap();
    assert_eq!(
        outcome.dns().nameservers,
        ["10.96.0.10", "10.96.0.11", "10.0.0.1"]
    );
}

#[test]
fn existing_name_server_causes_no_edit() {
    let outcome =
        answered(&["10.96.0.10"]).refusing(EditError::new(EditErrorKind::Immutable, "dns"));
    policy(r#"{"nameservers":["10.96.0.10"]}"#)
        .after_add(&pod(), &cluster(), &outcome)
        .unwrap();
}

#[test]
fn a_refusal_of_the_host_is_a_denial() {
    let outcome = answered(&[]).refusing(EditError::new(EditErrorKind::Conflict, "other"));
    let denial = policy(r#"{"nameservers":["10.96.0.10"]}"#)
        .after_add(&pod(), &cluster(), &outcome)
        .unwrap_err();
    assert!(denial.message.contains("other"), "{}", denial.message);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let check = |settings, part: &str| {
        let reason = testing::configure::<DnsInject>(settings).unwrap_err();
        assert!(reason.contains(part), "{settings}: {reason}");
    };
    check("{}", "none of nameservers");
    check(r#"{"nameservers":["dns.example"]}"#, "not an IP address");
    check(r#"{"search":["a b"]}"#, "search");
    check(r#"{"options":[""]}"#, "options");
    check(
        r#"{"nameserver":["10.0.0.1"]}"#,
        "unknown field `nameserver`",
    );
    check(
        r#"{"nameservers":["10.0.0.1"],"position":"middle"}"#,
        "unknown variant `middle`",
    );
}
