//! Hooks that see what all policies left and can only deny, and the one for a failed ADD.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{AddFailure, Cause, Denied, Hook, LoadState, PolicyHost, Session};
use policy_tests::{Policies, add, answer, cluster, findings, selection, storage, witness};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A host with a witness that guards, and one that runs after it.
async fn host(guard: Value, later: Value) -> PolicyHost {
    let rest = json!({"grants": ["state", "rewrite-result"]});
    let host = Policies::new(COMPILER)
        .with("10-guard", "witness", &witness(&guard, &rest))
        .with("90-later", "witness", &witness(&later, &rest))
        .load()
        .await;
    for policy in host.current().policies() {
        assert_eq!(policy.state, LoadState::Loaded, "{policy:?}");
    }
    host
}

fn check(denied: &Denied, hook: Hook, message: &str) {
    assert_eq!((denied.hook, denied.cause), (hook, Cause::Policy));
    assert_eq!(denied.policy, "10-guard");
    assert!(denied.message.contains(message), "{}", denied.message);
}

#[tokio::test]
async fn a_guard_sees_selections_of_later_policies() {
    let guard = json!({"validate-selections": ["describe", {"deny": [150, "too late"]}]});
    let later = json!({"select": [{"insert": [1, "added"]}, {"set-default": ["default", "fast"]}]});
    let denied = add(&host(guard, later).await)
        .select(vec![selection("a")])
        .await
        .unwrap_err();
    check(&denied, Hook::ValidateSelections, "too late");
    let said: Vec<_> = denied.findings.iter().map(|one| &*one.message).collect();
    assert!(said.contains(&"a,added"), "{said:?}");
    assert!(said.contains(&"default/fast"), "{said:?}");
}

/// Runs before-add on cluster and storage, and validates the plan.
async fn planned(session: &mut Session) -> Result<(), Denied> {
    session.plan(vec![cluster(), storage()]);
    let mut plan = Vec::new();
    for attachment in [cluster(), storage()] {
        let (attachment, _) = session.before_add(attachment).await?;
        plan.extend((!attachment.skipped).then_some(attachment));
    }
    assert!(session.end_before_add());
    session.settle(&plan).await?;
    session.validate_plan(&plan).await.map(|_| ())
}

#[tokio::test]
async fn a_guard_sees_attachments_of_later_policies() {
    let guard = json!({"validate-plan": ["describe", {"deny": [150, "an MTU"]}]});
    let later = json!({"before-add": [{"set-mtu": 1400}]});
    let denied = planned(&mut add(&host(guard, later).await))
        .await
        .unwrap_err();
    check(&denied, Hook::ValidatePlan, "an MTU");
    let said: Vec<_> = denied.findings.iter().map(|one| &*one.message).collect();
    assert!(said.contains(&"cluster,default/storage"), "{said:?}");
    assert!(
        said.iter().any(|text| text.ends_with("Some(\"1400\")")),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_guard_sees_the_result_of_later_policies() {
    let guard = json!({"validate-result": ["describe", {"deny": [150, "no servers"]}]});
    let later =
        json!({"after-add": [{"tag": ["tier", "gold"]}], "finalize": [{"set-nameservers": []}]});
    let mut session = add(&host(guard, later).await);
    let plan = [cluster(), storage()];
    for attachment in plan.clone() {
        session.after_add(attachment, answer()).await.unwrap();
    }
    assert!(session.involves(Hook::Finalize, None));
    let denied = session
        .finalize(&plan, answer(), vec![answer(), answer()])
        .await
        .unwrap_err();
    check(&denied, Hook::ValidateResult, "no servers");
    let said = denied.findings.iter().find(|one| one.code == "outcome");
    assert!(said.unwrap().message.ends_with(" []"), "{said:?}");
}

#[tokio::test]
async fn validating_hooks_edit_nothing() {
    let edits = json!({
        "validate-selections": [{"try": {"remove": 0}}, {"try": {"set-default": ["a", "b"]}}],
        "validate-plan": [{"try": {"set-mtu": 1400}}, {"try": {"on": [1, "skip"]}}],
        "validate-result": [{"try": {"tag": ["a", "b"]}}, {"try": {"result-ips": []}},
            {"try": {"status": [0, {"tag": ["a", "b"]}]}}],
    });
    let host = host(edits, json!({})).await;
    let mut session = add(&host);
    let selected = session.select(vec![selection("a")]).await.unwrap();
    assert_eq!(selected.selections.len(), 1);
    let refused = |report: &policy_engine::Report| {
        let all = findings(report);
        let all: Vec<_> = all.iter().filter(|(code, _)| *code == "refused").collect();
        for (_, text) in &all {
            assert!(
                text.ends_with("what a hook validates cannot be changed"),
                "{text}"
            );
        }
        all.len()
    };
    assert_eq!(refused(&selected.report), 2);
    session.plan(vec![cluster(), storage()]);
    let mut plan = Vec::new();
    for attachment in [cluster(), storage()] {
        plan.push(session.before_add(attachment).await.unwrap().0);
    }
    let report = session.validate_plan(&plan).await.unwrap();
    assert_eq!(refused(&report), 2);
    assert_eq!(plan, [cluster(), storage()]);
    let statuses = vec![answer(), answer()];
    let (finale, report) = session.finalize(&plan, answer(), statuses).await.unwrap();
    assert_eq!(refused(&report), 3);
    assert_eq!(finale.outcome.result, answer());
    assert!(finale.statuses[0].tags.is_empty());
}

#[tokio::test]
async fn an_audited_guard_denies_nothing() {
    let guard = json!({"validate-plan": [{"deny": [150, "never"]}]});
    let rest = json!({"grants": ["state"], "mode": "audit"});
    let host = Policies::new(COMPILER)
        .with("10-guard", "witness", &witness(&guard, &rest))
        .load()
        .await;
    planned(&mut add(&host)).await.unwrap();
}

#[tokio::test]
async fn policies_that_live_hear_of_a_failed_add() {
    let (first, second) = (json!({"before-add": [{"panic": "x"}]}), json!({}));
    let host = host(first, second).await;
    let mut session = add(&host);
    let denied = session.before_add(storage()).await.unwrap_err();
    let why = AddFailure {
        code: Some(denied.code),
        message: "denied".to_owned(),
        denied_by: Some((denied.policy.clone(), denied.hook.to_string())),
    };
    let report = session.add_failed(&[cluster(), storage()], why).await;
    let told: Vec<_> = report.findings.iter().map(|one| &*one.policy).collect();
    assert_eq!(told, ["90-later"]);
    let finding = &report.findings[0];
    assert_eq!(finding.message, "Some(100) 2 Some(\"10-guard\")");
    assert_eq!(
        finding.fields,
        [("message".to_owned(), "denied".to_owned())]
    );
}

#[tokio::test]
async fn a_failed_hook_for_failures_denies_nothing() {
    let host = host(json!({"add-failed": [{"panic": "x"}]}), json!({})).await;
    let report = add(&host).add_failed(&[], AddFailure::default()).await;
    let codes: Vec<_> = report.findings.iter().map(|one| &*one.code).collect();
    assert_eq!(codes, ["policy-trap", "add-failed"]);
}
