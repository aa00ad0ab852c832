//! While the bypass file exists, the host touches no module that is not already running.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::sync::Arc;

use policy_engine::{LoadState, PolicyHost};
use policy_tests::{Policies, add, only, storage, until, watching};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

async fn loaded(policies: &Policies) -> PolicyHost {
    let mut config = policies.config();
    config.bypass_file = Some(policies.path("bypass"));
    PolicyHost::load(config).await
}

/// The states of all policies, in order.
fn states(host: &PolicyHost) -> Vec<LoadState> {
    let policies = host.current().policies().into_iter();
    policies.map(|one| one.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_loaded_until_the_bypass_ends() {
    let policies = Policies::new(COMPILER)
        .with("10-mtu", "annotation-mtu", &json!({}))
        .with_own_cache();
    fs::write(policies.path("bypass"), "").unwrap();
    let host = Arc::new(loaded(&policies).await);
    assert_eq!(only(&host).state, LoadState::Broken);
    let error = only(&host).last_error.unwrap();
    assert!(
        error.contains("bypass exists (policies.bypassFile)"),
        "{error}"
    );
    assert!(!policies.cache().exists(), "not even compiled");
    add(&host).before_add(storage()).await.unwrap();

    let watching = watching(&host);
    fs::remove_file(policies.path("bypass")).unwrap();
    let denied = add(&host).before_add(storage()).await.unwrap_err();
    assert!(
        denied.message.contains("bypass"),
        "closed until it is loaded: {denied:?}"
    );
    until(|| only(&host).state == LoadState::Loaded).await;
    watching.abort();
}

#[tokio::test]
async fn a_bypass_keeps_loaded_policies() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = loaded(&policies).await;
    fs::write(policies.path("bypass"), "").unwrap();
    let policies = policies.with("20-mtu", "annotation-mtu", &json!({}));
    host.reload().await;
    assert_eq!(states(&host), [LoadState::Loaded, LoadState::Broken]);
    fs::remove_file(policies.path("bypass")).unwrap();
    host.reload().await;
    assert_eq!(states(&host), [LoadState::Loaded, LoadState::Loaded]);
}
