//! What an instance costs the host: modules whose instances would freeze the node are refused.
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

/// A policy with the hook status, and `count` instances of another module with these `items`.
fn policy(items: &str, count: usize) -> Vec<u8> {
    let more = r#"(core instance (instantiate $more (with "at" (instance $at))))"#.repeat(count);
    let text = format!(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $origin (global (export "at") i32 (i32.const 0)))
        (core instance $at (instantiate $origin))
        (core module $more {items})
        (core module $m (memory (export "memory") 1) (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        {more}
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).unwrap()
}

async fn load(items: &str, count: usize) -> policy_engine::PolicyHost {
    Policies::new(COMPILER)
        .with_module("10-large", &policy(items, count), &json!({}))
        .load()
        .await
}

async fn refused(items: &str, count: usize, part: &str) {
    let host = load(items, count).await;
    assert_eq!(only(&host).state, LoadState::Broken, "{part}");
    let reason = trouble(&host);
    assert!(reason.contains(part), "{part}: {reason}");
    assert!(reason.contains("at most"), "{reason}");
}

#[tokio::test]
async fn many_globals_in_many_instances_are_refused() {
    let globals = "(global (mut i64) (i64.const 0))".repeat(10_000);
    refused(&globals, 14, "has 140001 globals, at most 65536").await;
}

#[tokio::test]
async fn many_functions_in_tables_are_refused() {
    let functions = "(func)".repeat(20_000);
    let each: Vec<String> = (0..20_000).map(|index| index.to_string()).collect();
    let items = format!("{functions} (elem declare func {})", each.join(" "));
    refused(&items, 7, "140001 functions that are exported").await;
}

#[tokio::test]
async fn large_passive_segments_are_refused() {
    let items = format!("(func $f) (elem func {})", "$f ".repeat(20_000));
    refused(&items, 7, "140000 elements of element segments").await;
}

/// Data segments whose offset is known only at instantiation, so that they cannot be mapped.
fn copied(bytes: usize, count: usize) -> String {
    let data = "x".repeat(bytes);
    let segment = format!(r#"(data (offset (global.get $at)) "{data}")"#);
    // An imported global has no known value.
    format!(
        r#"(global $at (import "at" "at") i32) (memory 20) {}"#,
        segment.repeat(count)
    )
}

#[tokio::test]
async fn copies_of_large_data_are_refused() {
    refused(&copied(1 << 20, 17), 1, "bytes of data segments to copy").await;
}

#[tokio::test]
async fn much_code_that_initializes_is_refused() {
    // Elements at an offset that is known only at instantiation.
    let elements = "(elem (offset (global.get $at)) func $f $f $f $f $f $f $f $f)".repeat(4_000);
    let items =
        format!(r#"(global $at (import "at" "at") i32) (func $f) (table 8 funcref) {elements}"#);
    refused(&items, 14, "at most").await;
}

#[tokio::test]
async fn instances_are_charged_for_what_they_keep() {
    let globals = "(global (mut i64) (i64.const 0))".repeat(60_000);
    let host = load(&globals, 1).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    let before = host.guest_memory_peak();
    host.current().status().await.unwrap();
    let plain = load("", 1).await;
    plain.current().status().await.unwrap();
    let difference = before - plain.guest_memory_peak();
    assert!(difference >= 60_000 * 16, "{difference}");
}

/// A component whose parts are instantiated twice each, level by level.
fn doubling(levels: usize) -> Vec<u8> {
    let more: String = (0..levels)
        .map(|level| {
            let next = level + 1;
            format!(
                "(component $c{next} (alias outer 1 $c{level} (component $p)) (instance (instantiate $p)) (instance (instantiate $p)))"
            )
        })
        .collect();
    let text = format!(
        "(component (component $c0 (core module $m) (core instance (instantiate $m))) {more} (instance (instantiate $c{levels})))"
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_small_module_of_many_parts_is_not_read() {
    let host = Policies::new(COMPILER)
        .with_module("10-double", &doubling(19), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Broken);
    let reason = trouble(&host);
    assert!(reason.contains("describes itself in"), "{reason}");
}
