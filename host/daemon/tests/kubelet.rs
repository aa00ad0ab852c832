//! The kubelet adapter against a kubelet that answers, refuses, breaks and goes away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails here says where"
)]

use std::path::PathBuf;
use std::time::Duration;

use cnidaria_core::domain::device::Supply;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::ports::{Devices, DevicesError};
use daemon::adapters::kubelet::{Kubelet, Settings};
use fake_kubelet::{FakeKubelet, Fault, Get};

/// Longer than anything here takes: a test that waits for it fails.
const LONG: Duration = Duration::from_secs(20);
const POD: (&str, &str) = ("default", "a");
const RESOURCE_EXHAUSTED: u32 = 8;

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("kubelet.sock")
    }

    /// A kubelet that has allocated devices to two containers of the pod, and to another pod.
    fn kubelet(&self) -> FakeKubelet {
        let kubelet = FakeKubelet::start(&self.socket()).unwrap();
        kubelet.allocate(POD, "second", "a/x", &["0000:10", "0000:02"]);
        kubelet.allocate(POD, "first", "a/x", &["0000:01"]);
        kubelet.allocate(POD, "first", "a/y", &["y"]);
        kubelet.allocate(("default", "b"), "first", "a/x", &["0000:00"]);
        kubelet.allocate(("other", "a"), "first", "a/x", &["0000:00"]);
        kubelet
    }

    fn adapter(&self, patience: Duration) -> Kubelet {
        Kubelet::new(Settings {
            socket: self.socket(),
            checkpoint: self.dir.path().join("checkpoint"),
            patience,
            root: None,
        })
    }

    fn checkpoint(&self, id: &str) {
        let text = format!(
            r#"{{"Data":{{"PodDeviceEntries":[{{"PodUID":"uid-a","ContainerName":"c","ResourceName":"a/x","DeviceIDs":{{"0":["{id}"]}},"AllocResp":""}}],"RegisteredDevices":{{}}}},"Checksum":0}}"#
        );
        std::fs::write(self.dir.path().join("checkpoint"), text).unwrap();
    }
}

fn pod_ref(name: &str) -> PodRef {
    PodRef {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

/// The devices of `a/x`, in the order in which attachments get them.
async fn devices(adapter: &Kubelet, pod: &str) -> Result<Vec<String>, DevicesError> {
    let mut supply = Supply::from(adapter.allocated(&pod_ref(pod)).await?);
    Ok(std::iter::from_fn(|| supply.take("a/x")).collect())
}

const ALL: [&str; 3] = ["0000:01", "0000:02", "0000:10"];

#[tokio::test]
async fn get_is_preferred_over_list() {
    let rig = Rig::new();
    let kubelet = rig.kubelet();
    let adapter = rig.adapter(LONG);
    assert_eq!(devices(&adapter, "a").await.unwrap(), ALL);
    assert_eq!(kubelet.take_calls(), ["Get"]);
}

#[tokio::test]
async fn list_fallback_is_remembered() {
    for get in [Get::Disabled, Get::Unknown] {
        let rig = Rig::new();
        let kubelet = rig.kubelet();
        kubelet.set_get(get);
        let adapter = rig.adapter(LONG);
        assert_eq!(devices(&adapter, "a").await.unwrap(), ALL);
        assert_eq!(devices(&adapter, "a").await.unwrap(), ALL);
        assert_eq!(kubelet.take_calls(), ["Get", "List", "List"], "{get:?}");
    }
}

#[tokio::test]
async fn unknown_pod_has_no_devices() {
    let rig = Rig::new();
    let kubelet = rig.kubelet();
    let adapter = rig.adapter(LONG);
    for unknown in ["unknown", "get-method-disabled"] {
        let none = devices(&adapter, unknown).await.unwrap();
        assert_eq!(none, Vec::<String>::new());
        assert_eq!(kubelet.take_calls(), ["Get", "List"]);
        devices(&adapter, "a").await.unwrap();
        assert_eq!(kubelet.take_calls(), ["Get"], "it does have the method");
    }
}

#[tokio::test]
async fn list_larger_than_the_window_is_read_whole() {
    let rig = Rig::new();
    let kubelet = rig.kubelet();
    kubelet.set_fault(Fault::Inflate(15 << 20));
    assert_eq!(devices(&rig.adapter(LONG), "a").await.unwrap(), ALL);
}

#[tokio::test]
async fn rate_limited_call_is_retried() {
    let rig = Rig::new();
    let kubelet = rig.kubelet();
    kubelet.set_fault(Fault::Refuse {
        code: RESOURCE_EXHAUSTED,
        message: "rejected by rate limit".into(),
        times: 2,
    });
    assert_eq!(devices(&rig.adapter(LONG), "a").await.unwrap(), ALL);
    assert_eq!(kubelet.take_calls(), ["Get", "Get", "Get"]);
}

#[tokio::test]
async fn malformed_kubelet_answers_are_errors() {
    for (fault, expected) in [
        (Fault::Inflate(17 << 20), "more than 16777216 bytes"),
        (Fault::Bytes(b"?".to_vec()), "shorter than the head"),
        (Fault::Bytes(vec![1, 0, 0, 0, 0]), "compressed"),
        (Fault::Bytes(vec![0, 0, 0, 0, 9, 1]), "not one frame"),
        (
            Fault::Bytes(vec![0, 0, 0, 0, 2, 0x0a, 0x7f]),
            "not a valid message",
        ),
        (Fault::NoStatus, "without a status"),
        (
            Fault::Refuse {
                code: 7,
                message: "not you".into(),
                times: 9,
            },
            "the call was refused with gRPC code 7: not you",
        ),
    ] {
        let rig = Rig::new();
        let kubelet = rig.kubelet();
        kubelet.set_fault(fault.clone());
        let error = devices(&rig.adapter(LONG), "a").await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{fault:?}: {error}");
        assert!(error.contains("default/a") && error.contains("checkpoint"));
    }
}

#[tokio::test]
async fn hung_kubelet_times_out() {
    let rig = Rig::new();
    let kubelet = rig.kubelet();
    kubelet.set_fault(Fault::Hang);
    let error = devices(&rig.adapter(Duration::from_millis(50)), "a")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no answer within 50ms"),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_kubelet_the_checkpoint_is_read() {
    let rig = Rig::new();
    let adapter = rig.adapter(LONG);
    let error = devices(&adapter, "a").await.unwrap_err().to_string();
    assert!(error.contains("kubelet.sock: cannot connect"), "{error}");
    assert!(error.contains("checkpoint: cannot be read"), "{error}");
    rig.checkpoint("from-checkpoint");
    assert_eq!(devices(&adapter, "a").await.unwrap(), ["from-checkpoint"]);
    // The socket of a dead kubelet exists, but refuses connections.
    drop(tokio::net::UnixListener::bind(rig.socket()).unwrap());
    assert_eq!(devices(&adapter, "a").await.unwrap(), ["from-checkpoint"]);
    std::fs::remove_file(rig.socket()).unwrap();
    let _kubelet = rig.kubelet();
    assert_eq!(devices(&adapter, "a").await.unwrap(), ALL);
}

#[tokio::test]
async fn kubelet_paths_are_below_the_given_root() {
    let rig = Rig::new();
    let root = match libcni::Root::enter(rig.dir.path()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: needs CAP_SYS_CHROOT");
            return;
        }
        entered => entered.unwrap(),
    };
    let adapter = Kubelet::new(Settings {
        socket: "/kubelet.sock".into(),
        checkpoint: "/checkpoint".into(),
        patience: LONG,
        root: Some(root),
    });
    rig.checkpoint("from-checkpoint");
    assert_eq!(devices(&adapter, "a").await.unwrap(), ["from-checkpoint"]);
    let _kubelet = rig.kubelet();
    assert_eq!(devices(&adapter, "a").await.unwrap(), ALL);
}
