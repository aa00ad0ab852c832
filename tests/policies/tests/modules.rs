//! How the host handles bad modules.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Hook, LoadState};
use policy_tests::{Policies, only, trouble};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

async fn reason_for(module: &[u8]) -> String {
    let host = Policies::new(COMPILER)
        .with_module("10-odd", module, &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Broken);
    let reason = trouble(&host);
    assert!(reason.contains("10-odd.wasm"), "{reason}");
    reason
}

async fn check(module: &[u8], parts: &[&str]) {
    let reason = reason_for(module).await;
    for part in parts {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

#[tokio::test]
async fn files_other_than_components_are_named() {
    check(b"", &["no WebAssembly"]).await;
    check(b"#!/bin/sh\n", &["no WebAssembly"]).await;
    check(
        b"\0asm\x01\0\0\0",
        &["a core module, not a component", "wasm-component-ld"],
    )
    .await;
    check(b"\0asm\x0d\0\x01\0garbage", &["does not compile"]).await;
}

#[tokio::test]
async fn components_that_do_not_fit_say_why() {
    let component = |text: &str| wat::parse_str(text).unwrap();
    check(&component("(component)"), &["exports no hook"]).await;
    let newer = r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $m (memory (export "memory") 1) (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@9.0.0" (instance $hook-instance)))"#;
    check(
        &component(newer),
        &["cnidaria:policy/status@9.0.0", "@0.1.0"],
    )
    .await;
    check(
        &component(r#"(component (import "cnidaria:policy/types@9.0.0" (instance)))"#),
        &["imports cnidaria:policy/types@9.0.0", "@0.1.0"],
    )
    .await;
    check(
        &component(r#"(component (import "acme:disk/format@1.0.0" (instance)))"#),
        &["imports acme:disk/format@1.0.0", "does not have"],
    )
    .await;
    let lacking = r#"(component
        (component $c)
        (instance $empty (instantiate $c))
        (export "cnidaria:policy/before-add@0.1.0" (instance $empty)))"#;
    check(
        &component(lacking),
        &["exports the hook before-add, but not as the package defines it"],
    )
    .await;
    let wrong_type = newer
        .replace("9.0.0", "0.1.0")
        .replace("(error string)", "(error u32)");
    check(
        &component(&wrong_type),
        &["exports the hook status, but not as"],
    )
    .await;
}

/// A component with the hook status and additional core items.
fn with_status(items: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $m (memory (export "memory") 1) {items} (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m)) {more}
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn memories_tables_and_instances_are_limited() {
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &with_status("", ""), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host.current().status().await.unwrap();

    check(
        &with_status("(memory 300)", ""),
        &["limits.memoryBytes allows 16777216"],
    )
    .await;
    check(
        &with_status("(table 20000 funcref)", ""),
        &["limits.tableElements allows 10000"],
    )
    .await;
    check(
        &with_status(&"(memory 1)".repeat(4), ""),
        &["limit", "limits.memories"],
    )
    .await;
    check(
        &with_status(&"(table 1 funcref)".repeat(9), ""),
        &["limit", "limits.tables"],
    )
    .await;
    let instances = "(core instance (instantiate $m))".repeat(16);
    check(&with_status("", &instances), &["limit", "limits.instances"]).await;
    // Two memories of 10 MiB each count as one of 20.
    check(
        &with_status("(memory 160) (memory 160)", ""),
        &["limits.memoryBytes"],
    )
    .await;

    let more = json!({"limits": {"memoryBytes": 33_554_432, "instances": 32}});
    let odd = with_status("(memory 300)", &instances);
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &odd, &more)
        .load()
        .await;
    assert_eq!(
        only(&host).state,
        LoadState::Broken,
        "16 instances of 19 MiB are too much for 32 MiB"
    );
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &with_status("(memory 300)", ""), &more)
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instantiation_is_limited_as_hooks_are() {
    let start = |body: &str| format!("(func $start {body}) (start $start)");
    let odd = |items: &str| with_status(items, "");
    let quick = json!({"limits": {"timeoutMs": 200}});
    let reason = async |module: &[u8]| {
        let policies = Policies::new(COMPILER).with_module("10-odd", module, &quick);
        trouble(&policies.load().await)
    };
    let spinning = reason(&odd(&start("(loop $l (br $l))"))).await;
    assert!(
        spinning.contains("timeout: did not return within 200 ms"),
        "{spinning}"
    );
    let trapping = reason(&odd(&start("unreachable"))).await;
    assert!(trapping.contains("trap: "), "{trapping}");
    let growing = reason(&odd(&start(
        "(loop $l (drop (memory.grow (i32.const 16))) (br $l))",
    )))
    .await;
    assert!(growing.contains("limits.memoryBytes allows"), "{growing}");
    let recursing = reason(&odd("(func $start (call $start)) (start $start)")).await;
    assert!(recursing.contains("limits.stackBytes"), "{recursing}");
    // 17 MiB of data segments: a few bytes each in the file, but not in memory.
    let segments: String = (0..272)
        .map(|page| format!("(data (i32.const {}) \"x\")", page * 65_536))
        .collect();
    let filling = reason(&odd(&format!(
        "(memory 272) {}",
        segments.replace("(data (", "(data (memory 1) (")
    )))
    .await;
    assert!(filling.contains("limits.memoryBytes allows"), "{filling}");
}

#[tokio::test]
async fn excess_exports_are_ignored_or_rejected() {
    let exports: String = (0..5_000)
        .map(|number| format!("(func (export \"e{number}\"))"))
        .collect();
    let more = |count: u32| -> String {
        (0..count)
            .map(|number| format!("(instance (export \"extra-{number}\"))"))
            .collect()
    };
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &with_status(&exports, &more(300)), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    assert_eq!(only(&host).hooks, [Hook::Status]);

    // More than the compiler accepts.
    check(
        &with_status("", &more(2_000)),
        &["does not compile", "count"],
    )
    .await;

    let long = format!("acme:{}/x", "y".repeat(50_000));
    let reason = reason_for(
        &wat::parse_str(format!(r#"(component (import "{long}" (instance)))"#)).unwrap(),
    )
    .await;
    assert!(reason.len() <= 4096, "{}", reason.len());
}
