//! The first instance of a module: made in another process, whose crash is not the daemon's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::sync::Arc;

use policy_engine::{Config, LoadState, PolicyHost};
use policy_tests::{Policies, add, only, storage, trouble};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A configuration whose dry runs do what `script` says. Each is counted in the file `runs`.
fn scripted(policies: &Policies, script: &str) -> Config {
    let text = format!(
        "case $4 in *dryRun*) echo run >> {}; {script};; esac; exec {COMPILER} \"$@\"",
        policies.path("runs").display()
    );
    let mut config = policies.scripted(&text);
    config.quarantine_dir = Some(policies.path("quarantine"));
    config
}

fn runs(policies: &Policies) -> usize {
    let runs = fs::read_to_string(policies.path("runs")).unwrap_or_default();
    runs.lines().count()
}

fn policies() -> Policies {
    let policies = Policies::new(COMPILER).with_own_cache();
    policies.with("10-mtu", "annotation-mtu", &json!({}))
}

#[tokio::test]
async fn a_crashed_dry_run_quarantines_its_module() {
    let policies = policies();
    let host = PolicyHost::load(scripted(&policies, "kill -SEGV $$")).await;
    assert_eq!(
        only(&host).state,
        LoadState::Quarantined,
        "{:?}",
        only(&host)
    );
    let reason = trouble(&host);
    assert!(reason.contains("a dry run ended while it ran"), "{reason}");
    // Nor does the next daemon run it.
    let config = scripted(&policies, ":");
    let host = Arc::new(PolicyHost::load(config).await);
    assert_eq!(only(&host).state, LoadState::Quarantined);
    assert_eq!(runs(&policies), 1);
    assert!(host.release("10-mtu").await.unwrap());
    host.reload().await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    add(&host).before_add(storage()).await.unwrap();
}

#[tokio::test]
async fn a_crash_is_known_without_a_quarantine() {
    let policies = policies();
    let mut config = scripted(&policies, "kill -ABRT $$");
    config.quarantine_dir = None;
    let host = Arc::new(PolicyHost::load(config).await);
    assert_eq!(only(&host).state, LoadState::Broken);
    assert!(
        trouble(&host).contains("a dry run crashed"),
        "{}",
        trouble(&host)
    );
    host.reload().await;
    assert_eq!(runs(&policies), 1);
    scripted(&policies, ":");
    assert!(host.release("10-mtu").await.unwrap());
    host.reload().await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
}

#[tokio::test]
async fn a_dry_run_happens_once_for_its_settings() {
    let policies = policies();
    for _ in 0..2 {
        let host = PolicyHost::load(scripted(&policies, ":")).await;
        assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
        assert_eq!(runs(&policies), 1);
    }
    policies.write("10-mtu.json", br#"{"limits": {"timeoutMs": 777}}"#);
    let host = PolicyHost::load(scripted(&policies, ":")).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    assert_eq!(runs(&policies), 2);
}

#[tokio::test]
async fn a_dry_run_that_cannot_start_holds_up_nothing() {
    let policies = policies();
    let host = PolicyHost::load(scripted(&policies, "echo no such option >&2; exit 2")).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
}

#[tokio::test]
async fn the_daemon_reports_what_configure_rejects() {
    let policies = Policies::new(COMPILER).with_own_cache().with(
        "10-bad",
        "hostile-misbehave",
        &json!({"settings": {"do": "no such behaviour"}}),
    );
    let host = PolicyHost::load(scripted(&policies, ":")).await;
    assert_eq!(only(&host).state, LoadState::Broken);
    assert!(trouble(&host).contains("settings:"), "{}", trouble(&host));
    assert_eq!(runs(&policies), 1);
}
