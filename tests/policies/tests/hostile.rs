//! Each way in which a guest can misbehave, and how the host reacts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::time::{Duration, Instant};

use hostile_misbehave::{Behaviour, Place};
use policy_engine::{Cause, Command, Denied, LoadState, PolicyHost, Report, Severity};
use policy_tests::{Policies, add, arg, cluster, conf_at, facts, only, storage, stored, trouble};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A policy with this `behaviour` and the rest of its configuration.
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
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    add(&host).before_add(storage()).await.unwrap_err()
}

async fn accepted(behaviour: Behaviour, rest: Value) -> (policy_engine::PolicyAttachment, Report) {
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

/// The match has no wildcard, so a behaviour without a test does not compile.
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
            // Generous for a busy machine; without a limit the call would never return.
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        Behaviour::Grow => {
            check(
                &denied(behaviour).await,
                Cause::Limit,
                "limits.memoryBytes allows 16777216",
            );
        }
        Behaviour::Recurse => {
            check(
                &denied(behaviour).await,
                Cause::Limit,
                "used up its 524288 bytes of stack",
            );
            let host = misbehaving(behaviour, &json!({"limits": {"stackBytes": 65_536}}))
                .load()
                .await;
            let denied = add(&host).before_add(storage()).await.unwrap_err();
            check(
                &denied,
                Cause::Limit,
                "65536 bytes of stack (limits.stackBytes)",
            );
        }
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
            // Another test checks the log's own limit; this one, that the flood does no harm.
            let (_, report) = accepted(behaviour, json!({"limits": {"timeoutMs": 10_000}})).await;
            assert!(report.edits.is_empty());
        }
        Behaviour::FloodFindings => {
            let limits = json!({"limits": {"timeoutMs": 10_000, "findings": 3}});
            let (_, report) = accepted(behaviour, limits).await;
            assert_eq!(report.findings.len(), 3);
            assert_eq!(report.findings[2].message, "finding 2");
        }
        Behaviour::FloodFields => {
            check(
                &denied(behaviour).await,
                Cause::Limit,
                "limits.hostCallBytes",
            );
        }
        Behaviour::LongFields => {
            let (_, report) = accepted(behaviour, json!({})).await;
            let fields = &report.findings[0].fields;
            assert_eq!(fields.len(), 16);
            for (name, value) in fields {
                assert!(name.len() <= 63 && value.len() <= 253, "{name} {value}");
                assert!(!value.contains(char::is_control), "{value:?}");
            }
        }
        Behaviour::KeepHandle => {
            let host = misbehaving(behaviour, &json!({})).load().await;
            let mut session = add(&host);
            session.before_add(cluster()).await.unwrap();
            let denied = session.before_add(storage()).await.unwrap_err();
            check(&denied, Cause::Trap, "a handle of attachment");
        }
        Behaviour::EditOthers => {
            let host = misbehaving(behaviour, &json!({})).load().await;
            let mut session = add(&host);
            session.plan(vec![cluster(), storage()]);
            for attachment in [cluster(), storage()] {
                let (edited, _) = session.before_add(attachment.clone()).await.unwrap();
                assert_eq!(edited, attachment);
            }
        }
        Behaviour::FloodEdits => {
            check(
                &denied(behaviour).await,
                Cause::Policy,
                "64 edits, then Some(EditError { kind: EditErrorKind::TooLarge",
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
            // One request keeps its instance; another request gets another.
            let again = first.before_add(storage()).await.unwrap_err();
            assert_eq!(again.message, "seen 2");
            add(&host).before_add(storage()).await.unwrap();
        }
        Behaviour::RefuseHugely => {
            let denied = denied(behaviour).await;
            check(&denied, Cause::Limit, "limits.hostCallBytes");
        }
        Behaviour::Accept => {
            let (attachment, report) = accepted(behaviour, json!({})).await;
            assert_eq!(attachment, storage());
            assert_eq!(report, Report::default());
        }
    }
}

/// With failure policy open, the edits are dropped and the request continues.
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

/// A policy with this `behaviour` in a hook other than before-add.
fn misbehaving_at(place: Place, behaviour: Behaviour) -> Policies {
    let settings = json!({"do": behaviour, "at": place});
    misbehaving(behaviour, &json!({"settings": settings}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaviour_in_configure_prevents_loading() {
    for (behaviour, part) in [
        (Behaviour::Spin, "timeout: did not return within 300 ms"),
        (Behaviour::Grow, "limit: "),
        (Behaviour::Grow, "limits.memoryBytes allows 16777216"),
        (Behaviour::Recurse, "limits.stackBytes"),
        (Behaviour::Trap, "trap: "),
        (Behaviour::Panic, "the sky is falling"),
        (Behaviour::RefuseHugely, "limits.hostCallBytes"),
    ] {
        let host = misbehaving_at(Place::Configure, behaviour).load().await;
        let reason = trouble(&host);
        assert_eq!(only(&host).state, LoadState::Broken, "{behaviour:?}");
        assert!(reason.contains(part), "{part}: {reason}");
        assert!(reason.contains("10-bad.wasm"), "{reason}");
        assert!(reason.len() <= 4096, "{}", reason.len());
        add(&host).before_add(storage()).await.unwrap_err();
    }
    let host = misbehaving_at(Place::Configure, Behaviour::FloodLog)
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaviour_fails_status_but_not_del() {
    let host = misbehaving_at(Place::Status, Behaviour::Spin).load().await;
    let denied = host.current().status().await.unwrap_err();
    check(&denied, Cause::Timeout, "did not return within 300 ms");

    for (behaviour, code) in [
        (Behaviour::Spin, "policy-timeout"),
        (Behaviour::Grow, "policy-limit"),
        (Behaviour::Panic, "policy-trap"),
        (Behaviour::RefuseHugely, "policy-limit"),
    ] {
        let host = misbehaving_at(Place::Del, behaviour).load().await;
        let mut session = host.current().begin(facts(Command::Del, "default"));
        let first = session.del(&storage(), &stored()).await;
        assert_eq!(first.findings[0].code, code);
        let second = session.del(&storage(), &stored()).await;
        let again = behaviour != Behaviour::Spin;
        assert_eq!(second.findings.len(), usize::from(again), "{second:?}");
    }
}

#[tokio::test]
async fn state_metrics_and_random_have_quotas() {
    let greedy = async |settings: Value, limits: Value| {
        let config = json!({
            "settings": settings, "limits": limits,
            "grants": ["namespaces", "nads", "node", "metrics", "clock", "random", "state"],
        });
        let host = Policies::new(COMPILER)
            .with("10-greedy", "hostile-greedy", &config)
            .load()
            .await;
        assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
        add(&host).before_add(storage()).await
    };
    let refusal = async |settings: Value, limits: Value| {
        let denied = greedy(settings, limits).await.unwrap_err();
        denied.message
    };
    assert_eq!(
        refusal(json!({"keys": 10}), json!({"stateKeys": 3})).await,
        "3 keys, then Error::Quota"
    );
    assert_eq!(
        refusal(json!({"keys": 10}), json!({"stateBytes": 250})).await,
        "2 keys, then Error::Quota"
    );
    assert!(
        refusal(json!({"value": 65_537}), json!({}))
            .await
            .contains("TooLarge")
    );
    assert!(
        refusal(json!({"random": 4097}), json!({}))
            .await
            .contains("4097 random bytes were asked for")
    );
    // The daemon limits how many are exported.
    greedy(json!({"metrics": 1000}), json!({})).await.unwrap();
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
    // One per 5 ms tick on an idle machine.
    assert!(others > 3, "{others}");
}

#[tokio::test]
async fn burst_beyond_the_instance_slots_is_served() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let mut config = policies.config();
    config.guest_memory_bytes = 1 << 30;
    let host = PolicyHost::load(config).await;
    let mut requests = Vec::new();
    // Each request keeps its instance until it ends; there are 128 slots.
    for _ in 0..300 {
        let mut request = add(&host);
        let (attachment, _) = request.before_add(storage()).await.unwrap();
        requests.push((request, attachment));
    }
    for (request, attachment) in &mut requests {
        request
            .after_add(attachment.clone(), policy_tests::answer())
            .await
            .unwrap();
    }
}
