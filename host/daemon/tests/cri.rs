//! The adapter of the container runtime against a runtime that answers, refuses, breaks and goes away.

#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::path::PathBuf;
use std::time::Duration;

use cnidaria_core::ports::Sandboxes as _;
use daemon::adapters::cri::{Cri, Settings};
use fake_kubelet::{FakeKubelet, Fault};

/// Longer than anything here takes: a test that waits for it fails.
const LONG: Duration = Duration::from_secs(20);
const UNKNOWN: u32 = 2;

struct Rig(tempfile::TempDir);

impl Rig {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("cri.sock")
    }

    fn runtime(&self) -> FakeKubelet {
        FakeKubelet::start(&self.socket()).unwrap()
    }

    async fn list(&self, patience: Duration) -> Result<Vec<String>, String> {
        let adapter = Cri::new(Settings {
            socket: self.socket(),
            patience,
            root: None,
        });
        let listed = adapter.list().await.map_err(|error| error.to_string())?;
        Ok(listed.into_iter().map(|id| id.to_string()).collect())
    }
}

#[tokio::test]
async fn all_sandboxes_are_listed() {
    let rig = Rig::new();
    let runtime = rig.runtime();
    assert_eq!(rig.list(LONG).await.unwrap(), [""; 0]);
    runtime.set_sandboxes(["ready", "not-ready"]);
    assert_eq!(rig.list(LONG).await.unwrap(), ["not-ready", "ready"]);
    assert_eq!(runtime.take_calls(), ["ListPodSandbox"; 2]);
}

#[tokio::test]
async fn a_doubtful_answer_is_an_error() {
    let rig = Rig::new();
    let error = rig.list(LONG).await.unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
    let runtime = rig.runtime();
    runtime.set_sandboxes(["a"]);
    let refusal = Fault::Refuse {
        code: UNKNOWN,
        message: "server is not initialized yet".to_owned(),
        times: 1,
    };
    for (fault, expected) in [
        (refusal, "server is not initialized yet"),
        (Fault::NoStatus, "ends without a status"),
        (Fault::Bytes(vec![0; 3]), "shorter than the head"),
        (Fault::Inflate(20 << 20), "more than 16777216 bytes"),
    ] {
        runtime.set_fault(fault);
        let error = rig.list(LONG).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("cri.sock"), "{error}");
    }
    runtime.set_fault(Fault::Hang);
    let error = rig.list(Duration::from_millis(20)).await.unwrap_err();
    assert!(error.contains("no answer within 20ms"), "{error}");
}

#[tokio::test]
async fn a_list_beyond_any_node_is_an_error() {
    let rig = Rig::new();
    let runtime = rig.runtime();
    runtime.set_sandboxes((0..20_001).map(|number| format!("c{number}")));
    let error = rig.list(LONG).await.unwrap_err();
    assert!(error.contains("20001 sandboxes"), "{error}");
    for bad in ["", "../a", "a b"] {
        runtime.set_sandboxes(["good", bad]);
        let error = rig.list(LONG).await.unwrap_err();
        assert!(error.contains("without a valid id"), "{bad}: {error}");
    }
}
