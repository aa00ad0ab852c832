//! Several policies on one request: their order, who owns which value, and which of them run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Cause, Command, LoadState, Mode, PolicyHost};
use policy_tests::{
    Policies, add, answer, cluster, conf_at, facts, findings, only, storage, witness,
};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A host with one policy that performs `actions`.
async fn host(actions: Value, rest: Value) -> PolicyHost {
    let policies = Policies::new(COMPILER).with("10-witness", "witness", &witness(&actions, &rest));
    policies.load().await
}

#[tokio::test]
async fn policies_run_in_name_order_and_see_edits() {
    let set = |json: &str| {
        witness(
            &json!({"before-add": [{"set-arg": [json, "1"]}, "describe"]}),
            &json!({"grants": ["state"]}),
        )
    };
    let policies = Policies::new(COMPILER)
        .with("20-second", "witness", &set("b"))
        .with("10-first", "witness", &set("a"));
    let host = policies.load().await;
    let (attachment, report) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(attachment.cni_args.unwrap().to_string(), r#"{"a":1,"b":1}"#);
    let order: Vec<_> = report
        .edits
        .iter()
        .map(|edit| edit.policy.as_str())
        .collect();
    assert_eq!(order, ["10-first", "20-second"]);
}

#[tokio::test]
async fn a_conflict_denies_and_names_both() {
    let set = |mtu: u32, rest: Value| {
        let actions =
            json!({"before-add": [{"try": {"set-mtu": mtu}}, {"set-arg": ["seen", "1"]}]});
        witness(&actions, &rest)
    };
    let both = |rest: Value| {
        Policies::new(COMPILER)
            .with(
                "10-small",
                "witness",
                &set(1400, json!({"grants": ["state"]})),
            )
            .with("20-large", "witness", &set(9000, rest))
    };
    let host = both(json!({"grants": ["state"]})).load().await;
    let denied = add(&host).before_add(storage()).await.unwrap_err();
    assert_eq!(
        (denied.policy.as_str(), denied.cause),
        ("20-large", Cause::Conflict)
    );
    assert!(
        denied
            .message
            .contains(r#"over network "default/storage": /conf/mtu belongs to policy "10-small", which set it to 1400, not 9000"#),
        "{}",
        denied.message
    );

    let host = both(json!({"grants": ["state"], "onConflict": "keep"}))
        .load()
        .await;
    let (attachment, report) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(conf_at(&attachment, "/mtu").as_deref(), Some("1400"));
    assert_eq!(
        findings(&report),
        [(
            "refused",
            r#"network "default/storage", interface net1: /conf/mtu belongs to policy "10-small", which set it to 1400, not 9000"#
        )]
    );
}

#[tokio::test]
async fn after_add_claims_hold_in_finalize() {
    let owner = witness(
        &json!({"after-add": [{"tag": ["tier", "gold"]}, {"add-nameserver": "10.96.0.10"}]}),
        &json!({"grants": ["state"]}),
    );
    let other = |action: Value| {
        Policies::new(COMPILER)
            .with("10-owner", "witness", &owner)
            .with(
                "20-other",
                "witness",
                &witness(
                    &json!({"finalize": [action]}),
                    &json!({"grants": ["state", "rewrite-result"]}),
                ),
            )
    };
    let finalize = async |action: Value| {
        let host = other(action).load().await;
        let mut session = add(&host);
        let (got, _) = session.after_add(cluster(), answer()).await.unwrap();
        let shown = vec![got.result.clone()];
        session.finalize(&[cluster()], got.result, shown).await
    };
    let denied = finalize(json!({"try": {"status": [0, {"set-nameservers": ["10.0.0.1"]}]}})).await;
    let denied = denied.unwrap_err();
    assert_eq!(
        (denied.policy.as_str(), denied.cause),
        ("20-other", Cause::Conflict)
    );
    assert!(
        denied.message.contains("policy \"10-owner\""),
        "{}",
        denied.message
    );
    let denied = finalize(json!({"try": {"set-nameservers": []}}))
        .await
        .unwrap_err();
    assert!(
        denied.message.contains("/final/result/dns"),
        "{}",
        denied.message
    );
    finalize(json!({"add-nameserver": "10.96.0.11"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn audit_mode_reports_but_changes_nothing() {
    let actions = json!({
        "before-add": [{"set-mtu": 1400}],
        "after-add": [{"deny": [150, "no"]}],
        "finalize": [{"panic": "no"}],
    });
    let host = host(actions, json!({"grants": ["state"], "mode": "audit"})).await;
    assert_eq!(only(&host).mode, Mode::Audit);
    let mut session = add(&host);
    let (attachment, report) = session.before_add(storage()).await.unwrap();
    assert_eq!(attachment, storage());
    assert!(report.edits.is_empty());
    assert_eq!(
        report.audited[0].patch.to_string(),
        r#"[{"op":"add","path":"/conf/mtu","value":1400}]"#
    );
    let (_, report) = session.after_add(storage(), answer()).await.unwrap();
    assert_eq!(
        findings(&report),
        [("policy-audit-deny", "would have denied with code 150: no")]
    );
    let (_, report) = session
        .finalize(&[storage()], answer(), vec![answer()])
        .await
        .unwrap();
    assert_eq!(report.findings[0].code, "policy-trap");
}

#[tokio::test]
async fn a_policy_that_is_off_does_not_run_nor_load() {
    let policies =
        Policies::new(COMPILER).with_module("10-off", b"garbage", &json!({"mode": "off"}));
    let host = policies.load().await;
    assert_eq!(only(&host).state, LoadState::Off);
    add(&host).before_add(storage()).await.unwrap();
}

#[tokio::test]
async fn exempt_namespaces_and_bypass_skip_policies() {
    let deny = witness(
        &json!({"before-add": [{"deny": [150, "no"]}]}),
        &json!({"grants": ["state"]}),
    );
    let policies = Policies::new(COMPILER)
        .with("10-deny", "witness", &deny)
        .with_config("20-gone", "{}");
    let mut config = policies.config();
    config.exempt_namespaces = vec!["kube-system".to_owned()];
    config.bypass_file = Some(policies.path("bypass"));
    let host = PolicyHost::load(config).await;
    let begin = |namespace| host.current().begin(facts(Command::Add, namespace));
    begin("default").select(vec![]).await.unwrap_err();
    begin("kube-system").select(vec![]).await.unwrap();
    begin("kube-system").before_add(storage()).await.unwrap();

    std::fs::write(policies.path("bypass"), "").unwrap();
    begin("default").before_add(storage()).await.unwrap();
    std::fs::remove_file(policies.path("bypass")).unwrap();
    begin("default").before_add(storage()).await.unwrap_err();
}
