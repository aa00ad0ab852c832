//! Suites of cases.

use std::path::Path;

use crate::{ROOT, exits};

/// The number of cases that passed.
pub(crate) fn passed(text: &str) -> u32 {
    let (before, _) = text.split_once(" passed").unwrap();
    let number = before.lines().next_back().unwrap();
    number.parse().unwrap()
}

/// Runs the suite of a directory of this repository, as an author would: every case passes, and all
/// that the module has is reached.
fn suite(dir: &str, module: &Path, at_least: u32) {
    let module = module.to_string_lossy();
    let arguments = ["test", dir, "--module", &module, "--coverage"];
    let text = exits(0, Path::new(ROOT), &arguments);
    assert!(passed(&text) >= at_least, "{dir}: {text}");
    assert!(!text.contains("no case reaches"), "{dir}: {text}");
}

#[test]
fn the_shipped_policies_pass_their_cases() {
    for name in ["address-guard", "annotation-mtu", "dns-inject"] {
        suite(&format!("plugins/{name}"), &test_artifacts::guest(name), 20);
    }
}

#[test]
fn the_rules_pass_their_cases() {
    let module = test_artifacts::guest("rules");
    suite("tests/policies/guests/rules", &module, 60);
}

#[test]
fn the_rule_about_the_nodes_attachments_passes() {
    let module = test_artifacts::guest("described");
    suite("tests/policies/guests/described", &module, 7);
}

#[test]
fn the_example_in_javascript_passes_its_cases() {
    suite("guest-sdk/javascript", &test_artifacts::javascript(), 20);
}

#[test]
#[ignore = "compiles 18 MB of Python, half a minute of processor time; needs python3 with venv, and PyPI"]
fn the_example_in_python_passes_its_cases() {
    suite("guest-sdk/python", &test_artifacts::python(), 20);
}

#[test]
fn a_failing_case_is_a_diff_and_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let text = "name: wrong\npod: {annotations: {cnidaria.dev/mtu: eth0=9000}}\nexpect: {edits: {eth0: {/conf/mtu: 1500}}}\n";
    std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
    let guest = guest.to_string_lossy();
    let report = dir.path().join("report.xml");
    let report_arg = report.to_string_lossy();
    let arguments = ["test", ".", "--module", &guest, "--junit", &report_arg];
    let shown = exits(3, dir.path(), &arguments);
    assert!(shown.contains("-     /conf/mtu: 1500\n"), "{shown}");
    assert!(shown.contains("+     /conf/mtu: 9000\n"), "{shown}");
    let report = std::fs::read_to_string(&report).unwrap();
    assert!(report.contains("failures=\"1\""), "{report}");
}

#[test]
fn grants_for_edits_that_no_case_uses_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("witness");
    let text = r#"defaults:
  config: { grants: [state, change-type, rewrite-result], allowTypes: [ptp] }
---
name: a type is changed
settings: { before-add: [{ conf-set: [/type, '"ptp"'] }] }
expect: { conf: { eth0: { /type: ptp } } }
---
name: nothing is edited
settings: {}
"#;
    std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
    let guest = guest.to_string_lossy();
    let text = exits(
        0,
        dir.path(),
        &["test", ".", "--module", &guest, "--coverage"],
    );
    let expected = "coverage: 1 of 3 grants; no case reaches rewrite-result, state\n";
    assert!(text.contains(expected), "{text}");
}
