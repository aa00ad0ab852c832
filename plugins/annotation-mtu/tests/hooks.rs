//! Tests of the policy with the SDK's native structs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use annotation_mtu::{AnnotationMtu, code};
use cnidaria_guest::prelude::*;
use cnidaria_guest::testing;

const CONF: &str = r#"{"cniVersion":"1.0.0","name":"storage","type":"macvlan"}"#;

fn pod(annotation: &str) -> Request {
    Request::add("default", "web-1").with_annotation("cnidaria.dev/mtu", annotation)
}

fn storage() -> Attachment {
    Attachment::new("default/storage", "net1", CONF)
}

fn policy(settings: &str) -> AnnotationMtu {
    testing::configure(settings).unwrap()
}

#[test]
fn a_pod_gets_the_mtu_that_it_asks_for() {
    let attachment = storage();
    policy("{}")
        .before_add(&pod("net1=1400"), &attachment, &Plan::default())
        .unwrap();
    assert_eq!(attachment.conf_get("/mtu").as_deref(), Some("1400"));
}

#[test]
fn a_pod_without_the_annotation_is_left_alone() {
    let attachment = storage();
    policy("{}")
        .before_add(
            &Request::add("default", "web-1"),
            &attachment,
            &Plan::default(),
        )
        .unwrap();
    assert_eq!(attachment.conf_get("/mtu"), None);
}

#[test]
fn other_attachments_are_left_alone() {
    let attachment = storage();
    policy("{}")
        .before_add(&pod("net2=1400,other=9000"), &attachment, &Plan::default())
        .unwrap();
    assert_eq!(attachment.conf_get("/mtu"), None);
}

#[test]
fn misspelt_targets_are_reported_once() {
    let default = Attachment::new("default", "eth0", CONF).as_default();
    let both = [default.clone(), storage()];
    let plan = Plan::new(both.clone().map(|one| (one, Outcome::new())).into());
    let request = pod("net1=1400,net7=1400");
    for attachment in both {
        policy("{}")
            .before_add(&request, &attachment, &plan)
            .unwrap();
    }
    let [finding] = &request.findings()[..] else {
        panic!("{:?}", request.findings());
    };
    assert_eq!(finding.code, "mtu-target");
    assert!(finding.message.contains("\"net7\""), "{}", finding.message);
}

#[test]
fn out_of_range_mtu_denial_states_the_range() {
    let check = |mtu: u32, allowed: bool| {
        let attachment = storage();
        let verdict = policy(r#"{"min":1300,"max":1500}"#).before_add(
            &pod(&format!("net1={mtu}")),
            &attachment,
            &Plan::default(),
        );
        assert_eq!(verdict.is_ok(), allowed, "{mtu}");
        if let Err(denial) = verdict {
            assert_eq!(denial.code, code::OUT_OF_RANGE);
            assert!(
                denial.message.contains("1300 to 1500"),
                "{}",
                denial.message
            );
            assert_eq!(attachment.conf_get("/mtu"), None);
        }
    };
    check(1299, false);
    check(1300, true);
    check(1500, true);
    check(1501, false);
}

#[test]
fn a_malformed_annotation_is_denied() {
    let denial = policy("{}")
        .before_add(&pod("fast please"), &storage(), &Plan::default())
        .unwrap_err();
    assert_eq!(denial.code, code::MALFORMED);
    assert!(
        denial.message.contains("cnidaria.dev/mtu"),
        "{}",
        denial.message
    );
}

#[test]
fn a_refusal_of_the_host_is_a_denial() {
    let attachment = storage().refusing(EditError::new(
        EditErrorKind::Invalid,
        "no plugin has an MTU",
    ));
    let denial = policy("{}")
        .before_add(&pod("net1=1400"), &attachment, &Plan::default())
        .unwrap_err();
    assert_eq!(denial.code, code::REFUSED);
    assert!(
        denial.message.contains("no plugin has an MTU"),
        "{}",
        denial.message
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let check = |settings, part: &str| {
        let reason = testing::configure::<AnnotationMtu>(settings).unwrap_err();
        assert!(reason.contains(part), "{settings}: {reason}");
    };
    check(r#"{"min":1500,"max":1400}"#, "above max");
    check(r#"{"min":1}"#, "68..=65535");
    check(r#"{"max":70000}"#, "68..=65535");
    check(r#"{"annotation":""}"#, "annotation is empty");
    check(r#"{"mnu":1400}"#, "unknown field `mnu`");
    check(r#"{"min":"1400"}"#, "invalid type");
    check("7", "invalid type");
}
