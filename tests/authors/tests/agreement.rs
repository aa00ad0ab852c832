//! The policies that ship do the same natively as in the sandbox, in every case of their suites.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use address_guard::AddressGuard;
use annotation_mtu::AnnotationMtu;
use authors::{Hooks, component, native};
use cnidaria_guest::prelude::*;
use cnidaria_guest::testing;
use dns_inject::DnsInject;

/// Compares each hook call of each case. Returns the number of calls.
fn agree<P: Policy>(name: &str, hooks: &Hooks<P>) -> usize {
    let plugins = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins"));
    let cases = plugins.join(name).join("tests/cases/cases.yaml");
    let module = test_artifacts::guest(name);
    let cases = policy_cli::recorded(&cases, &module).unwrap();
    assert!(cases.len() >= 20, "{name} has {} cases", cases.len());
    let mut calls = 0;
    for case in cases {
        let policy = testing::configure::<P>(&case.settings);
        if case.requests.is_empty() {
            // The component refuses these settings, or the case makes no request that it sees.
            continue;
        }
        let policy = policy.unwrap_or_else(|reason| panic!("{}: {reason}", case.name));
        for request in &case.requests {
            for call in &request.calls {
                let [turn] = call.turns.as_slice() else {
                    continue;
                };
                let title = format!("{name}: {} ({})", case.name, call.hook);
                let call_natively = |refusal| {
                    let natively = native(&policy, hooks, (&request.facts, call), refusal);
                    natively.unwrap_or_else(|| panic!("{title}: not a hook"))
                };
                let component = component(call, turn);
                let mut natively = call_natively(None);
                // The SDK's structs refuse no edit by themselves: the host's reason is behind the
                // policy's own words.
                if let (None, Some((_, message))) = (&natively.denial, &component.denial) {
                    let (_, reason) = message.split_once(": ").unwrap_or_default();
                    natively = call_natively(Some(reason));
                }
                assert_eq!(natively, component, "{title}");
                calls += 1;
            }
        }
    }
    calls
}

#[test]
fn address_guard_agrees_with_its_component() {
    let calls = agree::<AddressGuard>(
        "address-guard",
        &Hooks {
            select: Some(Select::select),
            before_add: Some(BeforeAdd::before_add),
            after_add: None,
        },
    );
    assert!(calls >= 30, "{calls}");
}

#[test]
fn annotation_mtu_agrees_with_its_component() {
    let calls = agree::<AnnotationMtu>(
        "annotation-mtu",
        &Hooks {
            select: None,
            before_add: Some(BeforeAdd::before_add),
            after_add: None,
        },
    );
    assert!(calls >= 30, "{calls}");
}

#[test]
fn dns_inject_agrees_with_its_component() {
    let calls = agree::<DnsInject>(
        "dns-inject",
        &Hooks {
            select: None,
            before_add: None,
            after_add: Some(AfterAdd::after_add),
        },
    );
    assert!(calls >= 30, "{calls}");
}
