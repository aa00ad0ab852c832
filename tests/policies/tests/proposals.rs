//! WebAssembly proposals that policies do not need: modules that use them are rejected.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::LoadState;
use policy_tests::{Policies, only, trouble};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A policy with the hook status: a core module with `items` whose hook starts with `body`.
fn policy(items: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $m (memory (export "memory") 1) {items} (func (export "status") (result i32) {body} i32.const 0))
        (core instance $i (instantiate $m))
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Loads a module that uses a proposal; the compiler must reject it with `part` in its message.
async fn refused(module: &[u8], part: &str) {
    let host = Policies::new(COMPILER)
        .with_module("10-odd", module, &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Broken, "{part}");
    let reason = trouble(&host);
    assert!(reason.contains("does not compile"), "{part}: {reason}");
    assert!(reason.contains(part), "{part}: {reason}");
}

#[tokio::test]
async fn a_subtype_test_is_refused_before_it_runs() {
    let items = r#"
        (type $a (sub (func)))
        (type $b (sub $a (func)))
        (func $target (type $b))
        (elem declare func $target)"#;
    let body = "ref.func $target ref.test (ref $b) drop";
    refused(&policy(items, body), "gc proposal").await;
    // The start function runs during configure, without imports or grants.
    let start = format!("{items} (func $start {body}) (start $start)");
    refused(&policy(&start, ""), "gc proposal").await;
}

#[tokio::test]
async fn unneeded_core_proposals_are_rejected() {
    let check = async |items: &str, body: &str, part: &str| {
        refused(&policy(items, body), part).await;
    };
    check("(type (struct))", "", "gc").await;
    check(
        "(type $f (func)) (func (param (ref $f)))",
        "",
        "function references",
    )
    .await;
    check("(tag)", "", "exceptions").await;
    check("(memory 1 1 shared)", "", "threads").await;
    check("(memory i64 1)", "", "memory64").await;
    check("(table i64 1 funcref)", "", "memory64").await;
    check("(memory 1 (pagesize 1))", "", "custom page sizes").await;
    check(
        "(type $f (func)) (type $c (cont $f))",
        "",
        "stack switching",
    )
    .await;
    check(
        "",
        "i64.const 1 i64.const 2 i64.mul_wide_u drop drop",
        "wide arithmetic",
    )
    .await;
    check(
        "",
        "v128.const i64x2 0 0 v128.const i64x2 0 0 i8x16.relaxed_swizzle drop",
        "relaxed SIMD",
    )
    .await;
    check("(global externref (ref.null extern))", "", "gc types").await;
}

#[tokio::test]
async fn component_proposals_are_refused() {
    let check = async |text: &str, part: &str| {
        refused(&wat::parse_str(text).unwrap(), part).await;
    };
    check("(component (type (func async)))", "async").await;
    check("(component (type (stream u8)))", "async").await;
    check("(component (type error-context))", "error-context").await;
    check("(component (type (list u8 4)))", "fixed").await;
    check("(component (type (map string u8)))", "map").await;
    check("(component (core func (canon thread.yield)))", "async").await;
}

#[tokio::test]
async fn what_compilers_emit_by_default_still_loads() {
    let items = r#"
        (memory 1)
        (table 1 funcref)
        (func $f (result i32 i64) i32.const 1 i64.const 2)
        (elem (i32.const 0) func $f)
        (func return_call 1)
        (global i32 (i32.add (i32.const 1) (i32.const 2)))"#;
    let body = r#"
        call $f drop i32.extend8_s drop
        f32.const 1 i32.trunc_sat_f32_s drop
        ref.null func drop
        v128.const i64x2 0 0 drop
        i32.const 0 i32.const 0 i32.const 0 memory.fill"#;
    let host = Policies::new(COMPILER)
        .with_module("10-plain", &policy(items, body), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host.current().status().await.unwrap();
}
