//! Policies do the same natively as in the sandbox, in every case of their suites.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use address_guard::AddressGuard;
use annotation_mtu::AnnotationMtu;
use authors::{Hooks, Native, component};
use cnidaria_guest::prelude::*;
use cnidaria_guest::testing::{self, host};
use dns_inject::DnsInject;
use policy_cli::RecordedCase;
use rules::Rules;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The files of a suite.
fn suite(project: &str) -> Vec<PathBuf> {
    let dir = Path::new(ROOT).join(project).join("tests/cases");
    let files = fs::read_dir(dir).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

/// Compares each hook call of a case. Returns the number of calls.
fn agree<P: Policy>(case: &RecordedCase, hooks: &Hooks<P>) -> usize {
    host(|host| {
        host.namespace_labels.clone_from(&case.namespace_labels);
        host.state.clone_from(&case.state);
    });
    let policy = testing::configure::<P>(&case.settings);
    let policy = match (policy, &case.refusal) {
        (Ok(policy), None) => policy,
        (Err(_), Some(_)) => return 0,
        (native, refusal) => panic!(
            "{}: natively {:?}, the component {refusal:?}",
            case.name,
            native.err()
        ),
    };
    let mut calls = 0;
    for request in &case.requests {
        let mut native = Native::new(&policy, hooks, &request.facts);
        for call in &request.calls {
            let [turn] = call.turns.as_slice() else {
                continue;
            };
            let title = format!("{} ({})", case.name, call.hook);
            let component = component(call, turn);
            let natively = native.call(call, &component);
            let natively = natively.unwrap_or_else(|| panic!("{title}: not a hook"));
            assert_eq!(natively, component, "{title}");
            calls += 1;
        }
    }
    calls
}

/// Compares all cases of a suite. Returns their number, and that of the calls.
fn all_agree<P: Policy>(module: &str, suite: &[PathBuf], hooks: &Hooks<P>) -> (usize, usize) {
    let module = test_artifacts::guest(module);
    let (mut cases, mut calls) = (0, 0);
    for file in suite {
        for case in policy_cli::recorded(file, &module).unwrap() {
            cases += 1;
            calls += agree(&case, hooks);
        }
    }
    (cases, calls)
}

/// The policies that ship, each of which has a test here.
const SHIPPED: [&str; 3] = ["address-guard", "annotation-mtu", "dns-inject"];

#[test]
fn every_shipped_policy_has_a_test_here() {
    let plugins = fs::read_dir(Path::new(ROOT).join("plugins")).unwrap();
    let plugins = plugins.map(|entry| entry.unwrap().path());
    let crates = plugins.filter(|path| path.join("Cargo.toml").is_file());
    let mut names: Vec<String> = crates
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    assert_eq!(names, SHIPPED);
}

#[test]
fn address_guard_agrees_with_its_component() {
    let hooks = Hooks {
        validate_selections: Some(ValidateSelections::validate_selections),
        validate_plan: Some(ValidatePlan::validate_plan),
        ..Hooks::<AddressGuard>::default()
    };
    let (cases, calls) = all_agree("address-guard", &suite("plugins/address-guard"), &hooks);
    assert!(cases >= 20 && calls >= 30, "{cases} cases, {calls} calls");
}

#[test]
fn annotation_mtu_agrees_with_its_component() {
    let hooks = Hooks {
        before_add: Some(BeforeAdd::before_add),
        ..Hooks::<AnnotationMtu>::default()
    };
    let (cases, calls) = all_agree("annotation-mtu", &suite("plugins/annotation-mtu"), &hooks);
    assert!(cases >= 20 && calls >= 30, "{cases} cases, {calls} calls");
}

#[test]
fn dns_inject_agrees_with_its_component() {
    let hooks = Hooks {
        after_add: Some(AfterAdd::after_add),
        ..Hooks::<DnsInject>::default()
    };
    let (cases, calls) = all_agree("dns-inject", &suite("plugins/dns-inject"), &hooks);
    assert!(cases >= 20 && calls >= 30, "{cases} cases, {calls} calls");
}

#[test]
fn each_rule_agrees_with_its_component() {
    let hooks = Hooks::<Rules> {
        select: Some(Select::select),
        validate_selections: Some(ValidateSelections::validate_selections),
        before_add: Some(BeforeAdd::before_add),
        validate_plan: Some(ValidatePlan::validate_plan),
        after_add: Some(AfterAdd::after_add),
        validate_result: Some(ValidateResult::validate_result),
        add_failed: Some(AddFailed::add_failed),
        del: Some(Del::del),
    };
    let suites = suite("tests/policies/guests/rules");
    assert!(suites.len() >= 12, "{suites:?}");
    for suite in suites {
        let name = suite.display().to_string();
        let (cases, calls) = all_agree("rules", &[suite], &hooks);
        assert!(
            cases >= 3 && calls >= 6,
            "{name}: {cases} cases, {calls} calls"
        );
    }
}
