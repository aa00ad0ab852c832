//! Guests that spin in many pods share the processor with the guests of others and with the daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use policy_engine::{Cause, Command, PolicyHost};
use policy_tests::{Policies, facts, storage};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");
/// Small enough for all spinning guests at once.
const SMALL: u64 = 2 << 20;

/// A policy that spins in the namespaces `bad…`, and a guard of the namespace `good`.
async fn host(timeout_ms: u64, bad: &[String]) -> Arc<PolicyHost> {
    let limits =
        json!({"timeoutMs": timeout_ms, "requestTimeoutMs": timeout_ms, "memoryBytes": SMALL});
    let spinning = json!({
        "settings": {"do": "spin"}, "limits": limits, "match": {"namespaces": bad},
    });
    let guard = json!({"settings": {"do": "accept"}, "match": {"namespaces": ["good"]}});
    let policies = Policies::new(COMPILER)
        .with("10-bad", "hostile-misbehave", &spinning)
        .with("20-guard", "hostile-misbehave", &guard);
    let mut config = policies.config();
    config.guest_memory_bytes = 1 << 30;
    Arc::new(PolicyHost::load(config).await)
}

/// Starts a spinning ADD in each namespace and counts those that end.
fn spin(host: &Arc<PolicyHost>, namespaces: &[String]) -> Arc<AtomicUsize> {
    let ended = Arc::new(AtomicUsize::new(0));
    for namespace in namespaces {
        let mut session = host.current().begin(facts(Command::Add, namespace));
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            let denied = session.before_add(storage()).await.unwrap_err();
            assert_eq!(denied.cause, Cause::Timeout);
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    ended
}

/// Other tasks, and a guest of another policy, have many turns before one spinning guest ends.
async fn others_run(bad: Vec<String>) {
    let host = host(10_000, &bad).await;
    let ended = spin(&host, &bad);
    for _ in 0..20 {
        tokio::task::yield_now().await;
        let mut good = host.current().begin(facts(Command::Add, "good"));
        good.before_add(storage()).await.unwrap();
    }
    assert_eq!(ended.load(Ordering::Relaxed), 0);
}

// All spinning guests together take half a second for a tick each: the test fails if each turn of
// another task waits for all of them.
#[tokio::test(flavor = "current_thread")]
async fn many_pods_of_a_namespace_run_in_turns() {
    others_run(vec!["bad".to_owned(); 100]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn many_namespaces_of_a_policy_run_in_turns() {
    others_run((0..100).map(|number| format!("bad-{number}")).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_workers_run_guests_in_turns() {
    others_run(vec!["bad".to_owned(); 100]).await;
}
