//! Which namespaces' networks a pod may use under `namespaceIsolation`, on fakes of every port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION};
use cnidaria_core::ports::Ledger;
use daemon::response;
use support::{World, body};

/// The ADD's error code, 0 for success, for a pod in `default` with this annotation; and the log.
async fn add(annotation: &str, value: &str) -> (u32, Vec<String>) {
    let world = World::new();
    for namespace in ["other", "shared", "kube-system"] {
        let conf = r#"{"cniVersion":"1.0.0","name":"theirs","type":"t"}"#;
        let mut nads = world.nads.lock().unwrap();
        nads.insert(format!("{namespace}/net"), conf.into());
    }
    world.pod("a", "");
    if let Some(pod) = world.pods.lock().unwrap().get_mut("a") {
        let annotations = &mut pod.annotations;
        annotations.insert(annotation.into(), value.into());
    }
    let overrides = r#"{"namespaceIsolation":true,"globalNamespaces":"shared"}"#;
    let overrides = RawObject::parse(overrides).unwrap();
    let ledger = Arc::clone(&world) as Arc<dyn Ledger>;
    let pipeline = world.pipeline_with(ledger, overrides);
    let code = match pipeline.handle(&body("ADD", "a")).await {
        Ok(_) => 0,
        Err(error) => response::cni_error(&error).code,
    };
    (code, world.log())
}

#[tokio::test]
async fn isolation_holds_for_every_annotation() {
    for annotation in [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION] {
        for (value, expected) in [
            ("default/one", 0),
            ("shared/net", 0),
            ("other/net", 7),
            ("kube-system/net", 7),
            (r#"[{"name":"net","namespace":"other"}]"#, 7),
        ] {
            let (code, log) = add(annotation, value).await;
            assert_eq!(code, expected, "{annotation}: {value}");
            assert_eq!(log.contains(&"record".to_owned()), expected == 0, "{log:?}");
        }
    }
}

#[tokio::test]
async fn a_default_without_a_namespace_is_isolated() {
    assert_eq!(add(DEFAULT_NETWORK_ANNOTATION, "net").await.0, 7);
}
