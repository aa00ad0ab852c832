//! Breaks a node in one way for each check. What else such a node shows is named with the break.

use std::time::{Duration, UNIX_EPOCH};

use super::breaks::CASES;
use super::rig::{Rig, attachment};
use crate::doctor::checks::GROUPS;
use crate::doctor::node::Daemon;

/// Checks of file systems: `tests/node/tests/doctor.rs` mounts them.
const ELSEWHERE: [&str; 3] = ["S306", "L609", "L610"];

#[test]
fn a_sound_node_has_no_findings() {
    let rig = Rig::sound();
    assert!(rig.found(false).is_empty(), "{:?}", rig.found(false));
    assert!(rig.found(true).is_empty());
    let mut rig = Rig::sound();
    let netns = rig.path("netns-c1").display().to_string();
    rig.attachments().attachments = vec![attachment("c1", "eth0")];
    rig.attachments().attachments[0].netns = netns;
    assert!(rig.found(false).is_empty());
}

#[test]
fn each_break_is_found_by_its_check_alone() {
    let mut wrong = Vec::new();
    for (code, break_it, also) in CASES {
        let mut rig = Rig::sound();
        break_it(&mut rig);
        let found = rig.found(false);
        let is_found = found.iter().any(|(one, _)| one == code);
        let is_known =
            |(one, text): &(&str, String)| (one == code || also.contains(one)) && !text.is_empty();
        if !is_found || !found.iter().all(is_known) {
            wrong.push(format!("{code}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_check_has_a_break() {
    let cases: Vec<&str> = CASES.iter().map(|(code, ..)| *code).collect();
    for check in GROUPS.iter().flat_map(|(_, checks)| *checks) {
        let has_case = cases.contains(&check.code) || ELSEWHERE.contains(&check.code);
        assert!(has_case, "{}", check.code);
    }
}

#[test]
fn before_the_installation_less_is_checked() {
    let mut rig = Rig::sound();
    rig.node.daemon = Daemon::Away("away".into());
    rig.remove("net.d/00-multus.conf");
    rig.remove("bin/multus-shim");
    assert!(rig.found(true).is_empty(), "{:?}", rig.found(true));
    rig.remove("net.d/10-primary.conflist");
    assert_eq!(rig.found(true)[0].0, "R202");
}

#[test]
fn findings_are_bounded_and_the_worst_come_first() {
    let mut rig = Rig::sound();
    let many = (0..100).map(|number| {
        let mut one = attachment(&format!("c{number}"), "net1");
        one.netns = "/nonexistent/netns".into();
        one
    });
    rig.attachments().attachments = many.collect();
    rig.remove("bin/macvlan");
    let found = rig.found(false);
    assert_eq!(found[0].0, "P401");
    assert_eq!(found.last().unwrap(), &("L605", "and 80 more".to_owned()));
    assert_eq!(found.len(), 22);
}

#[test]
fn a_token_without_claims_says_nothing() {
    for token in ["", "a.b.c", "opaque", "a.%%%.c"] {
        let mut rig = Rig::sound();
        rig.server().token = Some(token.to_owned());
        rig.server().certificates.clear();
        rig.node.now = UNIX_EPOCH + Duration::from_secs(1);
        assert!(rig.found(false).is_empty(), "{token}");
    }
}
