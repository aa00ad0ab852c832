//! Each way in which a guest can misbehave, and what the host does about it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::time::{Duration, Instant};

use hostile_misbehave::Behaviour;
use policy_engine::{Cause, Denied, Report, Severity, State};
use policy_tests::{Policies, add, arg, conf_at, only, storage, trouble};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A policy that does `behaviour`, with the rest of its configuration.
fn misbehaving(behaviour: Behaviour, rest: &Value) -> Policies {
    let mut config = json!({"settings": {"do": behaviour}, "limits": {"timeoutMs": 300}});
    config
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    Policies::new(COMPILER).with("10-bad", "hostile-misbehave", &config)
}

async fn denied(behaviour: Behaviour) -> Denied {
    let host = misbehaving(behaviour, &json!({})).load().await;
    assert_eq!(only(&host).state, State::Loaded, "{:?}", only(&host));
    add(&host).before_add(storage()).await.unwrap_err()
}

async fn accepted(behaviour: Behaviour, rest: Value) -> (policy_engine::Attachment, Report) {
    let host = misbehaving(behaviour, &rest).load().await;
    add(&host).before_add(storage()).await.unwrap()
}

fn check(denied: &Denied, cause: Cause, part: &str) {
    assert_eq!(denied.cause, cause, "{denied:?}");
    assert!(denied.message.contains(part), "{}", denied.message);
    assert!(denied.code >= 100);
    assert!(denied.message.len() <= 1024, "{}", denied.message.len());
    assert!(
        !denied.message.contains(char::is_control),
        "{:?}",
        denied.message
    );
}

/// The match has no wildcard: a behaviour without a test does not compile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_misbehaviour_meets_its_limit() {
    for behaviour in Behaviour::ALL {
        meets_its_limit(behaviour).await;
    }
}

async fn meets_its_limit(behaviour: Behaviour) {
    match behaviour {
        Behaviour::Spin | Behaviour::SpinInHost => {
            let start = Instant::now();
            check(
                &denied(behaviour).await,
                Cause::Timeout,
                "did not return within 300 ms",
            );
            // Generous: the machine may be busy. Without a limit it would be for ever.
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        Behaviour::SpinInConfigure => {
            let host = misbehaving(behaviour, &json!({})).load().await;
            assert!(
                trouble(&host).contains("did not return within 300 ms"),
                "{}",
                trouble(&host)
            );
        }
        Behaviour::Grow => {
            check(
                &denied(behaviour).await,
                Cause::Limit,
                "limits.memoryBytes allows 16777216",
            );
        }
        Behaviour::Recurse => check(&denied(behaviour).await, Cause::Limit, "used up its stack"),
        Behaviour::Trap => check(&denied(behaviour).await, Cause::Trap, "unreachable"),
        Behaviour::Panic => check(&denied(behaviour).await, Cause::Trap, "the sky is falling"),
        Behaviour::HugeArgument | Behaviour::HugeAnswer => {
            check(
                &denied(behaviour).await,
                Cause::Limit,
                "limits.hostCallBytes",
            );
        }
        Behaviour::FloodLog => {
            // That the log itself ends is seen in the log; here, that the flood does no harm.
            let (_, report) = accepted(behaviour, json!({"limits": {"timeoutMs": 10_000}})).await;
            assert!(report.edits.is_empty());
        }
        Behaviour::FloodFindings => {
            let limits = json!({"limits": {"timeoutMs": 10_000, "findings": 3}});
            let (_, report) = accepted(behaviour, limits).await;
            assert_eq!(report.findings.len(), 3);
            assert_eq!(report.findings[2].message, "finding 2");
        }
        Behaviour::FloodEdits => {
            check(
                &denied(behaviour).await,
                Cause::Policy,
                "64 edits, then Some(EditError::TooLarge",
            );
        }
        Behaviour::HugeEdit => {
            let (attachment, _) = accepted(behaviour, json!({})).await;
            let error = arg(&attachment, "error").unwrap();
            assert!(error.contains("TooLarge"), "{error}");
            assert_eq!(conf_at(&attachment, "/args"), None);
        }
        Behaviour::EditForbidden => {
            let (attachment, report) = accepted(behaviour, json!({})).await;
            assert_eq!(attachment, storage());
            assert!(report.edits.is_empty());
        }
        Behaviour::EditThenDeny => check(&denied(behaviour).await, Cause::Policy, "after an edit"),
        Behaviour::EditThenTrap => dropped(behaviour, "policy-trap").await,
        Behaviour::EditThenSpin => dropped(behaviour, "policy-timeout").await,
        Behaviour::CrookedDenial => {
            let denied = denied(behaviour).await;
            assert_eq!(denied.code, 100);
            assert_eq!(denied.message, "line one line two  [31m");
            assert_eq!(denied.details.as_deref(), Some("a b"));
        }
        Behaviour::Remember => {
            let host = misbehaving(behaviour, &json!({})).load().await;
            let mut first = add(&host);
            first.before_add(storage()).await.unwrap();
            // The same request has the same instance, another request another.
            let again = first.before_add(storage()).await.unwrap_err();
            assert_eq!(again.message, "seen 2");
            add(&host).before_add(storage()).await.unwrap();
        }
        Behaviour::Accept => {
            let (attachment, report) = accepted(behaviour, json!({})).await;
            assert_eq!(attachment, storage());
            assert_eq!(report, Report::default());
        }
    }
}

/// A policy that is open on failure: its edits are dropped, and the request goes on.
async fn dropped(behaviour: Behaviour, code: &str) {
    let (attachment, report) = accepted(behaviour, json!({"failurePolicy": "open"})).await;
    assert_eq!(attachment, storage(), "{behaviour:?}");
    assert!(report.edits.is_empty());
    let [finding] = report.findings.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (finding.code.as_str(), finding.severity),
        (code, Severity::Warning)
    );
}

#[tokio::test]
async fn an_instance_that_failed_is_not_used_again() {
    let host = misbehaving(Behaviour::Trap, &json!({"failurePolicy": "open"}))
        .load()
        .await;
    let mut session = add(&host);
    for _ in 0..2 {
        let (_, report) = session.before_add(storage()).await.unwrap();
        assert_eq!(report.findings[0].code, "policy-trap", "{report:?}");
    }
    assert_eq!(only(&host).failures, 2);
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_spins_lets_other_requests_run() {
    let host = misbehaving(Behaviour::Spin, &json!({})).load().await;
    let mut session = add(&host);
    let mut spinning = std::pin::pin!(session.before_add(storage()));
    let mut others = 0_u32;
    loop {
        tokio::select! {
            biased;
            answer = &mut spinning => {
                answer.unwrap_err();
                break;
            }
            () = tokio::task::yield_now() => others += 1,
        }
    }
    // Once at every tick of 5 ms, were the machine idle.
    assert!(others > 3, "{others}");
}
