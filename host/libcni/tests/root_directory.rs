//! Built-in plugins, and plugins below another root directory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

use std::path::{Path, PathBuf};

use cni_types::result::CniResult;
use cni_types::version::Version;
use libcni::{Cni, Root};
use support::{Plugins, list, runtime};

const RESULT: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}"#;

#[tokio::test]
async fn passthru_alone_returns_an_empty_result() {
    let cni = Cni::new([PathBuf::from("/nonexistent")]).with_passthru();
    for version in ["0.1.0", "0.3.1", "1.1.0"] {
        let list = list(&format!(
            r#"{{"cniVersion":"{version}","name":"n","plugins":[{{"type":"passthru"}}]}}"#
        ));
        let result = cni.add(&list, &runtime("{}")).await.unwrap();
        assert!(result.interfaces.is_empty() && result.ips.is_empty());
        cni.del(&list, &runtime("{}"), Some(&result)).await.unwrap();
        cni.status(&list).await.unwrap();
    }
}

#[tokio::test]
async fn passthru_forwards_the_previous_result() {
    let plugins = Plugins::recording(&["first"]);
    plugins.answer("first", "ADD", RESULT);
    let list = list(
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"first"},{"type":"passthru"}]}"#,
    );
    let cni = plugins.cni().with_passthru();
    let result: CniResult = cni.add(&list, &runtime("{}")).await.unwrap();
    assert_eq!(result.to_raw(Version::V1_0_0).unwrap().get(), RESULT);
    cni.check(&list, &runtime("{}"), Some(&result))
        .await
        .unwrap();
    assert_eq!(plugins.calls().len(), 2, "of the first plugin alone");
}

#[tokio::test]
async fn passthru_needs_a_binary_unless_enabled() {
    let list = list(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"passthru"}]}"#);
    let cni = Cni::new([PathBuf::from("/nonexistent")]);
    assert!(cni.add(&list, &runtime("{}")).await.is_err());
}

#[tokio::test]
async fn plugin_is_found_and_started_in_its_root() {
    // Uses this machine's root as the node's: shells need their libraries.
    let Ok(root) = Root::enter(Path::new("/")) else {
        eprintln!("skipped: needs CAP_SYS_CHROOT");
        return;
    };
    let plugins = Plugins::recording(&["first"]);
    plugins.answer("first", "ADD", RESULT);
    let list = list(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"first"}]}"#);
    let cni = plugins.cni().with_root(Some(root));
    let result = cni.add(&list, &runtime("{}")).await.unwrap();
    assert_eq!(result.ips.len(), 1);
}

#[tokio::test]
async fn a_plugin_outside_of_its_root_is_not_found() {
    let plugins = Plugins::recording(&["first"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let Ok(root) = Root::enter(elsewhere.path()) else {
        eprintln!("skipped: needs CAP_SYS_CHROOT");
        return;
    };
    let list = list(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"first"}]}"#);
    let error = plugins
        .cni()
        .with_root(Some(root))
        .add(&list, &runtime("{}"))
        .await;
    assert!(!error.unwrap_err().executed);
    assert!(plugins.calls().is_empty());
}
