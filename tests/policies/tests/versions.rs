//! Modules that target an older version of the WIT package, or one that the host does not serve.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Command, Hook, PolicyHost, State};
use policy_tests::{
    Policies, add, answer, cluster, conf_at, facts, findings, only, selection, storage, trouble,
};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A host with a policy written for 0.1.0.
async fn host() -> PolicyHost {
    let host = Policies::new(COMPILER)
        .with("10-older", "targets-0-1", &json!({"grants": ["state"]}))
        .load()
        .await;
    assert_eq!(only(&host).state, State::Loaded, "{:?}", only(&host));
    host
}

#[tokio::test]
async fn a_module_for_0_1_has_all_its_hooks_and_grants() {
    let info = only(&host().await);
    assert_eq!(info.hooks, Hook::ALL);
    assert_eq!(info.asked, ["state"]);
    let host = Policies::new(COMPILER)
        .with("10-older", "targets-0-1", &json!({}))
        .load()
        .await;
    let reason = trouble(&host);
    assert!(
        reason.contains("imports cnidaria:policy/state@0.1.0, which needs the grant \"state\""),
        "{reason}"
    );
}

#[tokio::test]
async fn a_module_for_0_1_refuses_settings() {
    let settings = json!({"grants": ["state"], "settings": "refuse"});
    let host = Policies::new(COMPILER)
        .with("10-older", "targets-0-1", &settings)
        .load()
        .await;
    let reason = trouble(&host);
    assert!(
        reason.ends_with("10-older.json: settings: these settings make no sense"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_module_for_0_1_goes_the_whole_way_of_an_add() {
    let host = host().await;
    let mut session = add(&host);
    let selected = session
        .select(vec![selection("first"), selection("second")])
        .await
        .unwrap();
    let names: Vec<_> = selected
        .selections
        .iter()
        .map(|chosen| chosen.selection.name.as_str())
        .collect();
    assert_eq!(names, ["second", "last"]);
    assert_eq!(selected.selections[1].selection.ips, ["10.9.0.2/24"]);

    let mut plan = Vec::new();
    for (attachment, count) in [(cluster(), "1"), (storage(), "2")] {
        let network = attachment.network.clone();
        let (attachment, report) = session.before_add(attachment).await.unwrap();
        let seen = format!("web-1 {network} [\"macvlan\"]");
        assert_eq!(findings(&report), [("before-add", seen.as_str())]);
        assert_eq!(conf_at(&attachment, "/mtu").as_deref(), Some("1400"));
        assert_eq!(conf_at(&attachment, "/added").as_deref(), Some(count));
        assert_eq!(attachment.ips, ["10.9.0.3/24"]);
        plan.push(attachment);
    }

    let mut results = Vec::new();
    for attachment in &plan {
        let (outcome, report) = session
            .after_add(attachment.clone(), answer())
            .await
            .unwrap();
        let seen = format!("{} 1", attachment.if_name);
        assert_eq!(findings(&report), [("after-add", seen.as_str())]);
        assert_eq!(outcome.result.dns.nameservers, ["10.0.0.1", "10.9.0.53"]);
        assert_eq!(outcome.tags["version"], "0.1.0");
        results.push(outcome.result);
    }

    let (finale, report) = session
        .finalize(&plan, results[0].clone(), results)
        .await
        .unwrap();
    let seen = r#"["cluster", "default/storage"] 1"#;
    assert_eq!(findings(&report), [("finalize", seen)]);
    assert_eq!(finale.statuses[0].tags["final"], "yes");
    assert_eq!(finale.statuses[1].tags.len(), 1, "the tag of after-add");
}

#[tokio::test]
async fn v0_1_module_denies_and_reports_findings() {
    let host = host().await;
    let mut forbidden = facts(Command::Add, "default");
    forbidden
        .labels
        .insert("forbidden".to_owned(), String::new());
    let denied = host
        .current()
        .begin(forbidden)
        .select(vec![])
        .await
        .unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (121, "the pod is forbidden")
    );

    let begin = |command| host.current().begin(facts(command, "default"));
    let denied = begin(Command::Check)
        .check(&storage(), &answer())
        .await
        .unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (124, "net1 has 1 address")
    );
    let denied = host.current().status().await.unwrap_err();
    assert_eq!(denied.message, "not ready");
    let report = begin(Command::Del).del(&storage()).await;
    assert_eq!(findings(&report), [("del", "default/storage true")]);
    let valid = [("c1".to_owned(), "net1".to_owned())];
    let report = host.current().gc(&valid).await;
    assert_eq!(findings(&report), [("gc", "c1 net1")]);
}

async fn refused(component: &str) -> String {
    let module = wat::parse_str(component).unwrap();
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &module, &json!({}))
        .load()
        .await;
    trouble(&host)
}

#[tokio::test]
async fn module_for_newer_api_gets_served_versions() {
    let served = "cnidaria:policy@0.1.0 and cnidaria:policy@0.2.0";
    for (kind, item) in [
        (
            "imports",
            r#"(import "cnidaria:policy/types@VERSION" (instance))"#,
        ),
        (
            "exports",
            r#"(component $c) (instance $i (instantiate $c))
            (export "cnidaria:policy/before-add@VERSION" (instance $i))"#,
        ),
    ] {
        for version in ["0.2.1", "0.3.0", "1.0.0"] {
            let component = format!("(component {})", item.replace("VERSION", version));
            let reason = refused(&component).await;
            let (name, versions) = (format!("{kind} cnidaria:policy/"), format!("@{version}"));
            for part in [name.as_str(), &versions, served] {
                assert!(reason.contains(part), "{part}: {reason}");
            }
        }
    }
}

#[tokio::test]
async fn a_module_has_hooks_of_one_version_alone() {
    let reason = refused(
        r#"(component (component $c) (instance $i (instantiate $c))
        (export "cnidaria:policy/before-add@0.1.0" (instance $i))
        (export "cnidaria:policy/after-add@0.2.0" (instance $i)))"#,
    )
    .await;
    assert!(
        reason.ends_with("exports hooks of 0.1.0 and of 0.2.0: a module targets one version"),
        "{reason}"
    );
}
