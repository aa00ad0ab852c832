//! Modules that target an older version of the WIT package, or one that the host does not serve.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{ChosenDefault, Command, Hook, LoadState, Networks, Origin, PolicyHost};
use policy_tests::{
    Policies, add, answer, cluster, conf_at, facts, findings, only, selection, storage, stored,
    trouble,
};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// The guests that target older versions, and their versions.
const OLDER: [(&str, &str); 2] = [("targets-0-1", "0.1.0"), ("targets-0-2", "0.2.0")];

/// A host with a policy written for an older version.
async fn host(guest: &str) -> PolicyHost {
    let host = Policies::new(COMPILER)
        .with("10-older", guest, &json!({"grants": ["state"]}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host
}

#[tokio::test]
async fn older_modules_have_all_their_hooks_and_grants() {
    let hooks = [
        Hook::Configure,
        Hook::Select,
        Hook::BeforeAdd,
        Hook::AfterAdd,
        Hook::Finalize,
        Hook::Check,
        Hook::Status,
        Hook::Del,
        Hook::Gc,
    ];
    for (guest, version) in OLDER {
        let info = only(&host(guest).await);
        assert_eq!(info.hooks, hooks);
        assert_eq!(info.asked, ["state"]);
        let host = Policies::new(COMPILER)
            .with("10-older", guest, &json!({}))
            .load()
            .await;
        let reason = trouble(&host);
        let expected = format!("imports cnidaria:policy/state@{version}, which needs the grant");
        assert!(reason.contains(&expected), "{reason}");
    }
}

#[tokio::test]
async fn older_modules_see_no_networks_of_the_node() {
    for (guest, _) in OLDER {
        let networks = Networks {
            default: Some(selection("fast")),
            of_node: vec!["storage".to_owned()],
            of_pod: vec![selection("first"), selection("second")],
        };
        let host = host(guest).await;
        let selected = add(&host).select_networks(networks).await.unwrap();
        let chosen = selected.selections.into_iter();
        let chosen: Vec<_> = chosen.map(|one| (one.origin, one.selection.name)).collect();
        let expected = [
            (Origin::Node(0), "storage"),
            (Origin::Pod(1), "second"),
            (Origin::Policy, "last"),
        ];
        let expected = expected.map(|(origin, name)| (origin, name.to_owned()));
        assert_eq!(chosen, expected, "{guest}");
        assert_eq!(selected.default, ChosenDefault::Offered);
    }
}

#[tokio::test]
async fn older_modules_refuse_settings() {
    for (guest, _) in OLDER {
        let settings = json!({"grants": ["state"], "settings": "refuse"});
        let host = Policies::new(COMPILER)
            .with("10-older", guest, &settings)
            .load()
            .await;
        let reason = trouble(&host);
        assert!(
            reason.ends_with("10-older.json: settings: these settings make no sense"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn older_modules_go_the_whole_way_of_an_add() {
    for (guest, version) in OLDER {
        goes_the_whole_way(guest, version).await;
    }
}

async fn goes_the_whole_way(guest: &str, version: &str) {
    let host = host(guest).await;
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
        assert_eq!(outcome.tags["version"], version);
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
async fn older_modules_deny_and_report_findings() {
    for (guest, _) in OLDER {
        denies_and_reports(guest).await;
    }
}

async fn denies_and_reports(guest: &str) {
    let host = host(guest).await;
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
        .check(&storage(), &stored())
        .await
        .unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (124, "net1 has 1 address")
    );
    let denied = host.current().status().await.unwrap_err();
    assert_eq!(denied.message, "not ready");
    let report = begin(Command::Del).del(&storage(), &stored()).await;
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
    let served = "cnidaria:policy@0.1.0, cnidaria:policy@0.2.0, cnidaria:policy@0.3.0";
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
        for version in ["0.2.1", "0.3.1", "1.0.0"] {
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
async fn an_older_version_has_no_newer_hooks() {
    for hook in [
        "validate-selections",
        "validate-plan",
        "validate-result",
        "add-failed",
    ] {
        let reason = refused(&format!(
            r#"(component (component $c) (instance $i (instantiate $c))
            (export "cnidaria:policy/{hook}@0.2.0" (instance $i)))"#
        ))
        .await;
        assert!(
            reason.contains(&format!(
                "exports cnidaria:policy/{hook}@0.2.0, which is not a hook of any version"
            )),
            "{reason}"
        );
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
