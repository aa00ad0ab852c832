//! A policy's last good configuration survives a daemon restart.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Command, LoadState, PolicyHost};
use policy_tests::{Policies, facts, files, only, storage};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// The host of a restarted daemon on the same node.
async fn restarted(policies: &Policies) -> PolicyHost {
    let mut config = policies.config();
    config.kept_dir = Some(policies.path("kept"));
    PolicyHost::load(config).await
}

/// Whether the policy denies an MTU of 1400 in a namespace, as its last good settings demand.
async fn guards(host: &PolicyHost, namespace: &str) -> bool {
    let mut facts = facts(Command::Add, namespace);
    let mtu = ("cnidaria.dev/mtu".to_owned(), "net1=1400".to_owned());
    facts.annotations.extend([mtu]);
    let before_add = host.current().begin(facts).before_add(storage()).await;
    before_add.is_err_and(|denied| denied.code == 111)
}

fn guard() -> Policies {
    let config = json!({"settings": {"max": 1300}, "match": {"namespaces": ["shop"]}});
    Policies::new(COMPILER).with("10-guard", "annotation-mtu", &config)
}

#[tokio::test]
async fn a_torn_file_takes_no_guard_out_of_force() {
    let policies = guard();
    assert_eq!(only(&restarted(&policies).await).state, LoadState::Loaded);
    for text in ["", "{", r#"{"settigs":{}}"#, r#"{"settings":{"mux":1}}"#] {
        policies.write("10-guard.json", text.as_bytes());
        let host = restarted(&policies).await;
        assert_eq!(only(&host).state, LoadState::Stale, "{text}");
        assert!(only(&host).last_error.unwrap().contains("10-guard.json"));
        assert!(guards(&host, "shop").await, "{text}");
        assert!(!guards(&host, "web").await, "{text}");
        host.reload().await;
        assert_eq!(only(&host).state, LoadState::Stale, "{text}");
    }
}

#[tokio::test]
async fn the_last_good_module_outlives_its_file() {
    let policies = guard();
    restarted(&policies).await;
    policies.write("10-guard.wasm", b"broken");
    let host = restarted(&policies).await;
    assert_eq!(only(&host).state, LoadState::Stale);
    assert!(guards(&host, "shop").await);
}

#[tokio::test]
async fn state_goes_with_the_policys_files() {
    let policies = guard();
    restarted(&policies).await;
    assert_eq!(files(&policies.path("kept")), ["10-guard.json"]);
    for file in ["10-guard.json", "10-guard.wasm"] {
        std::fs::remove_file(policies.modules().join(file)).unwrap();
    }
    let host = restarted(&policies).await;
    assert!(host.current().policies().is_empty());
    assert!(files(&policies.path("kept")).is_empty());
}

#[tokio::test]
async fn a_policy_that_was_off_stays_off_when_torn() {
    let policies = guard();
    restarted(&policies).await;
    policies.write("10-guard.json", br#"{"mode":"off"}"#);
    restarted(&policies).await;
    policies.write("10-guard.json", b"{");
    let host = restarted(&policies).await;
    assert!(!guards(&host, "shop").await);
    host.current().status().await.unwrap();
}

#[tokio::test]
async fn off_with_a_mistake_stays_off_when_torn() {
    for is_restarted in [true, false] {
        let policies = guard();
        let before = restarted(&policies).await;
        let next = async |before: &PolicyHost| match is_restarted {
            true => Some(restarted(&policies).await),
            false => {
                before.reload().await;
                None
            }
        };
        policies.write("10-guard.json", br#"{"mode":"off","settigs":{}}"#);
        let off = next(&before).await;
        let off = off.as_ref().unwrap_or(&before);
        assert_eq!(only(off).state, LoadState::Off);
        for text in ["{", "", "[]"] {
            policies.write("10-guard.json", text.as_bytes());
            let torn = next(off).await;
            let torn = torn.as_ref().unwrap_or(off);
            assert_eq!(only(torn).state, LoadState::Off, "{text}");
            assert!(only(torn).last_error.is_some(), "{text}");
            assert!(!guards(torn, "shop").await, "{text}");
            torn.current().status().await.unwrap();
        }
        // A readable file enables it again.
        policies.write("10-guard.json", br#"{"settings":{"max":1300}}"#);
        let on = next(off).await;
        assert!(guards(on.as_ref().unwrap_or(off), "shop").await);
    }
}

#[tokio::test]
async fn audit_with_a_mistake_stops_enforcing() {
    let policies = guard();
    let host = restarted(&policies).await;
    policies.write("10-guard.json", br#"{"mode":"audit","settigs":{}}"#);
    host.reload().await;
    assert_eq!(only(&host).state, LoadState::Stale);
    assert!(!guards(&host, "shop").await);
    assert!(!guards(&restarted(&policies).await, "shop").await);
}

#[tokio::test]
async fn an_unreadable_directory_keeps_the_guards() {
    let policies = guard();
    restarted(&policies).await;
    let modules = policies.modules();
    std::fs::rename(&modules, policies.path("away")).unwrap();
    // Not a directory.
    std::fs::write(&modules, "").unwrap();
    let host = restarted(&policies).await;
    assert_eq!(only(&host).state, LoadState::Stale);
    assert!(guards(&host, "shop").await);
}
