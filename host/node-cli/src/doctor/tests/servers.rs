//! What is read from this machine, and how findings are shown.

use std::path::Path;

use super::rig::Rig;
use crate::doctor::{Severity, checks, gather, report};

#[test]
fn interfaces_are_read_from_sysfs() {
    let dir = tempfile::tempdir().unwrap();
    let eth0 = dir.path().join("eth0");
    std::fs::create_dir_all(eth0.join("bridge")).unwrap();
    std::fs::write(eth0.join("mtu"), "1450\n").unwrap();
    std::fs::write(eth0.join("flags"), "0x1003\n").unwrap();
    std::os::unix::fs::symlink("../bond0", eth0.join("master")).unwrap();
    std::fs::create_dir(dir.path().join("odd")).unwrap();
    let links = gather::links(dir.path());
    let eth0 = links.iter().find(|link| link.name == "eth0").unwrap();
    assert_eq!(eth0.mtu, 1450);
    assert!(eth0.is_bridge && eth0.is_up);
    assert_eq!(eth0.master.as_deref(), Some("bond0"));
    assert_eq!(links.len(), 2);
    assert!(gather::links(Path::new("/nonexistent")).is_empty());
}

/// The rights that are asked for are those of the installed role.
#[test]
fn every_right_of_the_role_is_asked_for() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/kustomize/base/rbac.yaml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let manifests: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut role = std::collections::BTreeSet::new();
    for rule in manifests
        .iter()
        .filter(|manifest| manifest["kind"] == "ClusterRole")
        .flat_map(|manifest| manifest["rules"].as_array().unwrap())
        // That of a single object has a check of its own.
        .filter(|rule| rule.get("resourceNames").is_none())
    {
        let list =
            |name: &str| -> Vec<String> { serde_json::from_value(rule[name].clone()).unwrap() };
        for (verb, resource) in list("verbs").iter().flat_map(|verb| {
            list("resources")
                .into_iter()
                .map(move |resource| (verb.clone(), resource))
        }) {
            role.insert((verb, list("apiGroups")[0].clone(), resource));
        }
    }
    let asked = gather::RIGHTS.iter().map(|right| {
        let resource = match right.subresource {
            "" => right.resource.to_owned(),
            subresource => format!("{}/{subresource}", right.resource),
        };
        (right.verb.to_owned(), right.group.to_owned(), resource)
    });
    assert_eq!(asked.collect::<std::collections::BTreeSet<_>>(), role);
}

#[test]
fn findings_are_text_or_json() {
    let rig = Rig::sound();
    rig.remove("bin/macvlan");
    rig.remove("bin/loopback");
    let mut findings = checks::run(&rig.node, false);
    findings.retain(|finding| finding.check.code.starts_with('P'));
    let text = report::text(&findings, 80);
    assert!(
        text.starts_with("P401 error: a network's plugin is missing\n  why:   ADD fails"),
        "{text}"
    );
    assert!(
        text.ends_with("80 checks: 1 errors, 0 warnings, 1 notices\n"),
        "{text}"
    );
    assert_eq!(report::text(&[], 80), "80 checks found nothing wrong\n");
    let json: serde_json::Value = serde_json::from_str(&report::json(&findings).unwrap()).unwrap();
    assert_eq!(json["findings"][0]["code"], "P401");
    assert_eq!(json["findings"][0]["severity"], "error");
    assert!(Severity::Error < Severity::Notice);
}

#[test]
fn names_cannot_send_escapes_to_the_terminal() {
    let mut rig = Rig::sound();
    let mut hostile = super::rig::nad("x\u{1b}[2J", serde_json::json!({}));
    hostile.config = Some("{".to_owned());
    rig.server().nads = Ok(vec![hostile]);
    let findings = checks::run(&rig.node, false);
    assert!(!report::text(&findings, 1).contains('\u{1b}'));
}
