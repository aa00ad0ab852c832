//! Shared budgets: the time of a request, and the memory of all guests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::pin::Pin;
use std::time::Duration;

use policy_engine::{Cause, Command, LoadState, PolicyAttachment, PolicyHost, Report, Session};
use policy_tests::{Policies, add, facts, only, storage, stored, trouble};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A policy that spins in a hook, with failure policy open.
fn spinning(at: &str, limits: Value) -> Value {
    json!({"settings": {"do": "spin", "at": at}, "failurePolicy": "open", "limits": limits})
}

/// A policy that accepts everything, with failure policy closed.
fn guard() -> Value {
    json!({"settings": {"do": "accept"}})
}

async fn load(policies: &Policies, time: Duration) -> PolicyHost {
    let mut config = policies.config();
    config.request_timeout = time;
    PolicyHost::load(config).await
}

fn evaluations(host: &PolicyHost, name: &str) -> u64 {
    let policies = host.current().policies();
    let policy = policies.iter().find(|policy| policy.name == name);
    policy.unwrap().evaluations
}

#[tokio::test]
async fn a_policy_spins_once_for_all_attachments() {
    let limits = json!({"timeoutMs": 100, "requestTimeoutMs": 250});
    let host = Policies::new(COMPILER)
        .with(
            "10-bad",
            "hostile-misbehave",
            &spinning("before-add", limits),
        )
        .with("20-guard", "hostile-misbehave", &guard())
        .load()
        .await;
    let mut session = add(&host);
    let mut findings = Vec::new();
    for _ in 0..64 {
        let (_, report) = session.before_add(storage()).await.unwrap();
        findings.extend(report.findings);
    }
    assert!(findings.iter().all(|finding| finding.policy == "10-bad"));
    assert!(findings.len() <= 4, "{findings:?}");
    let last = &findings.last().unwrap().message;
    assert!(
        last.contains("its 250 ms of this request (limits.requestTimeoutMs)"),
        "{last}"
    );
    assert_eq!(evaluations(&host, "20-guard"), 64);
}

#[tokio::test(flavor = "current_thread")]
async fn a_spinning_request_delays_no_other_add() {
    let mut bad = spinning("before-add", json!({"timeoutMs": 10_000}));
    bad["match"] = json!({"namespaces": ["bad"]});
    let host = Policies::new(COMPILER)
        .with("10-bad", "hostile-misbehave", &bad)
        .with("20-guard", "hostile-misbehave", &guard())
        .load()
        .await;
    let mut spinning = host.current().begin(facts(Command::Add, "bad"));
    let mut other = add(&host);
    tokio::select! {
        biased;
        _ = spinning.before_add(storage()) => panic!("the other ADD waited for its end"),
        added = other.before_add(storage()) => assert_eq!(added.unwrap().1, Report::default()),
    }
}

#[tokio::test]
async fn a_guard_without_time_denies_for_the_spender() {
    let limits = json!({"timeoutMs": 300, "requestTimeoutMs": 60_000});
    let policies = Policies::new(COMPILER)
        .with(
            "10-bad",
            "hostile-misbehave",
            &spinning("before-add", limits),
        )
        .with("20-guard", "hostile-misbehave", &guard());
    let host = load(&policies, Duration::from_millis(300)).await;
    let denied = add(&host).before_add(storage()).await.unwrap_err();
    assert_eq!(
        (denied.policy.as_str(), denied.cause),
        ("20-guard", Cause::Timeout)
    );
    let message = "all policies together used up their 300 ms of this request \
                   (policies.requestTimeoutMs), \"10-bad\"";
    assert!(denied.message.contains(message), "{}", denied.message);
}

#[tokio::test]
async fn del_asks_no_policy_once_the_time_is_gone() {
    let limits = json!({"timeoutMs": 300});
    let policies = Policies::new(COMPILER)
        .with(
            "10-bad",
            "hostile-misbehave",
            &spinning("del", limits.clone()),
        )
        .with("20-bad", "hostile-misbehave", &spinning("del", limits));
    let host = load(&policies, Duration::from_millis(300)).await;
    let mut session = host.current().begin(facts(Command::Del, "default"));
    let first = session.del(&storage(), &stored()).await;
    let names = first.findings.iter().map(|finding| finding.policy.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["10-bad", "20-bad"]);
    assert!(
        first.findings[1].message.contains("not called"),
        "{first:?}"
    );
    for _ in 0..64 {
        assert_eq!(session.del(&storage(), &stored()).await, Report::default());
    }
}

const MIB: u64 = 1 << 20;

/// Policies with this many bytes for all guests. Each instance uses a little more than 1 MiB, and
/// may use 2 MiB plus its tables.
async fn within(bytes: u64, matching: &[Value]) -> PolicyHost {
    let mut policies = Policies::new(COMPILER);
    for (number, matching) in matching.iter().enumerate() {
        let config = json!({
            "match": matching, "limits": {"memoryBytes": 2 * MIB, "tableElements": 1000},
        });
        policies = policies.with(&format!("{number}-mtu"), "annotation-mtu", &config);
    }
    let mut config = policies.config();
    config.guest_memory_bytes = bytes;
    let host = PolicyHost::load(config).await;
    for policy in host.current().policies() {
        assert_eq!(policy.state, LoadState::Loaded, "{policy:?}");
    }
    host
}

type Added = Result<(PolicyAttachment, Report), policy_engine::Denied>;
type Adding<'a> = Pin<Box<dyn Future<Output = Added> + 'a>>;

/// Whether an ADD still waits after all other tasks have run.
async fn waits(adding: &mut Adding<'_>) -> bool {
    for _ in 0..100 {
        tokio::select! {
            biased;
            added = &mut *adding => {
                added.unwrap();
                return false;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    true
}

fn adding(session: &mut Session) -> Adding<'_> {
    Box::pin(session.before_add(storage()))
}

#[tokio::test]
async fn requests_wait_for_memory_of_guests() {
    let host = within(5 * MIB, &[json!({})]).await;
    let mut sessions: Vec<Session> = (0..40).map(|_| add(&host)).collect();
    let mut held = Vec::new();
    while let Some(mut session) = sessions.pop() {
        if waits(&mut adding(&mut session)).await {
            sessions.push(session);
            break;
        }
        held.push(session);
    }
    assert!((2..5).contains(&held.len()), "{} of 40", held.len());
    // Each request that ends lets the next one begin.
    while let Some(mut session) = sessions.pop() {
        let mut next = adding(&mut session);
        assert!(waits(&mut next).await);
        held.remove(0);
        next.await.unwrap();
        held.push(session);
    }
    assert!(host.guest_memory_peak() <= 5 * MIB);
}

#[tokio::test]
async fn requests_that_hold_memory_do_not_deadlock() {
    let host = within(3 * MIB, &[json!({}), json!({}), json!({})]).await;
    let one = |mut session: Session| async move {
        for _ in 0..3 {
            session.before_add(storage()).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let adds = (0..20).map(|_| one(add(&host)));
    futures_util::future::join_all(adds).await;
    // One request at a time may exceed the budget, by its own policies' limits.
    assert!(host.guest_memory_peak() <= 3 * MIB + 3 * (2 * MIB + 16_000));
}

#[tokio::test]
async fn instances_made_ahead_give_way() {
    let of = |namespace: &str| json!({"namespaces": [namespace]});
    let host = within(3 * MIB, &[of("a"), of("b")]).await;
    for namespace in ["a", "b", "a", "b"] {
        let mut session = host.current().begin(facts(Command::Add, namespace));
        session.before_add(storage()).await.unwrap();
        drop(session);
        for _ in 0..20 {
            // Lets the host create the next instance.
            tokio::task::yield_now().await;
        }
    }
    assert!(host.guest_memory_peak() <= 3 * MIB);
}

#[tokio::test]
async fn growing_guests_stay_within_the_budget() {
    let config = json!({
        "settings": {"do": "grow"}, "failurePolicy": "open",
        "limits": {"memoryBytes": 8 * MIB, "timeoutMs": 10_000},
    });
    let policies = Policies::new(COMPILER).with("10-bad", "hostile-misbehave", &config);
    let mut config = policies.config();
    config.guest_memory_bytes = 20 * MIB;
    let host = PolicyHost::load(config).await;
    let mut sessions: Vec<Session> = (0..40).map(|_| add(&host)).collect();
    let adds = sessions
        .iter_mut()
        .map(|session| session.before_add(storage()));
    for added in futures_util::future::join_all(adds).await {
        assert_eq!(added.unwrap().1.findings[0].code, "policy-limit");
    }
    assert!(host.guest_memory_peak() <= 20 * MIB);
}

#[tokio::test]
async fn limits_beyond_the_daemons_memory_do_not_load() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let mut config = policies.config();
    config.guest_memory_bytes = 16 * MIB;
    let host = PolicyHost::load(config).await;
    assert_eq!(only(&host).state, LoadState::Broken);
    let reason = trouble(&host);
    assert!(
        reason.contains("policies.guestMemoryBytes gives all policies together 16777216"),
        "{reason}"
    );
}
