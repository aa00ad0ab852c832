//! Breaks a node in one way for each check. What else such a node shows is named with the break.

use std::time::{Duration, UNIX_EPOCH};

use super::breaks::CASES;
use super::rig::{Rig, attachment, link};
use crate::doctor::checks::GROUPS;
use crate::doctor::node::{Daemon, Link};

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

/// They were attached by the primary network's own plugins, and are in no ledger.
#[test]
fn pods_from_before_the_installation_are_sound() {
    let mut rig = Rig::sound();
    rig.reserve("cbr0", "10.1.0.2", "c0");
    rig.node.links.push(Link {
        master: Some("cni0".into()),
        ..link("veth1", 1500)
    });
    assert_eq!(rig.found(false)[0].0, "L606");
    rig.node.in_use = Clone::clone;
    assert!(rig.found(false).is_empty(), "{:?}", rig.found(false));
}

#[test]
fn pods_that_start_meanwhile_are_sound() {
    let mut rig = Rig::sound();
    rig.write("var/lib/cni/networks/blue/10.2.0.3", "c9\r\nnet1");
    rig.node.now = std::fs::metadata(rig.path("net.d"))
        .unwrap()
        .modified()
        .unwrap();
    rig.server().certificates.clear();
    assert!(rig.found(false).is_empty(), "{:?}", rig.found(false));
}

#[test]
fn directories_of_other_users_are_exposed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: takes root");
        return;
    }
    for (name, code) in [
        ("bin", "S307"),
        ("bin/multus-shim", "S307"),
        ("multus", "D504"),
        ("cni", "L601"),
        ("modules", "Y813"),
    ] {
        let rig = Rig::sound();
        std::os::unix::fs::chown(rig.path(name), Some(1001), None).unwrap();
        let found = rig.found(false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, code);
        assert!(found[0].1.ends_with("belongs to user 1001"), "{found:?}");
    }
}
