//! Guests that spin in many pods share the processor with the guests of others and with the daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use policy_engine::{Command, PolicyHost};
use policy_tests::{Policies, facts, storage};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");
/// Pods whose guests spin.
const PODS: usize = 100;
/// ADDs of another pod meanwhile.
const ROUNDS: usize = 20;
/// Small enough for all spinning guests at once.
const SMALL: u64 = 2 << 20;
/// Less than a tick, which ends a turn, and more than a guest takes to wait for one.
const TURN: Duration = Duration::from_millis(3);

/// A policy that spins in some namespaces, and a guard of the namespace `good`.
async fn host(bad: &[String]) -> PolicyHost {
    let limits = json!({"timeoutMs": 10_000, "requestTimeoutMs": 10_000, "memoryBytes": SMALL});
    let spinning = json!({
        "settings": {"do": "spin"}, "limits": limits, "match": {"namespaces": bad},
    });
    let guard = json!({"settings": {"do": "accept"}, "match": {"namespaces": ["good"]}});
    let policies = Policies::new(COMPILER)
        .with("10-bad", "hostile-misbehave", &spinning)
        .with("20-guard", "hostile-misbehave", &guard);
    let mut config = policies.config();
    config.guest_memory_bytes = 1 << 30;
    PolicyHost::load(config).await
}

/// What the tasks of the spinning pods have done.
#[derive(Default)]
struct Spun {
    polls: AtomicUsize,
    /// Those in which a guest had a turn.
    turns: AtomicUsize,
}

/// Starts a spinning ADD in each namespace.
fn spin(host: &PolicyHost, namespaces: &[String]) -> Arc<Spun> {
    let spun = Arc::new(Spun::default());
    for namespace in namespaces {
        let mut session = host.current().begin(facts(Command::Add, namespace));
        let spun = Arc::clone(&spun);
        tokio::spawn(async move {
            let mut call = pin!(session.before_add(storage()));
            poll_fn(|cx| {
                let start = Instant::now();
                let polled = call.as_mut().poll(cx);
                spun.polls.fetch_add(1, Ordering::Relaxed);
                if start.elapsed() >= TURN {
                    spun.turns.fetch_add(1, Ordering::Relaxed);
                }
                polled.map(drop)
            })
            .await;
        });
    }
    spun
}

/// Between two steps of other tasks, a few of the spinning guests have a turn, not all.
async fn others_run(bad: Vec<String>) {
    let host = host(&bad).await;
    let spun = spin(&host, &bad);
    while spun.polls.load(Ordering::Relaxed) < 2 * PODS {
        tokio::task::yield_now().await;
    }
    spun.turns.store(0, Ordering::Relaxed);
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
        let mut good = host.current().begin(facts(Command::Add, "good"));
        good.before_add(storage()).await.unwrap();
    }
    let turns = spun.turns.load(Ordering::Relaxed);
    assert!(turns < PODS, "{turns}");
}

#[tokio::test(flavor = "current_thread")]
async fn many_pods_of_a_namespace_alternate() {
    others_run(vec!["bad".to_owned(); PODS]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn many_namespaces_of_a_policy_alternate() {
    others_run((0..PODS).map(|number| format!("bad-{number}")).collect()).await;
}
