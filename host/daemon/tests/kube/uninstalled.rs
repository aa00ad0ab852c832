//! The runtime's conf after SIGTERM: a daemon whose DaemonSet was deleted takes it away, one that is
//! restarted keeps it, and so does one that cannot find out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::rig::{LONG, NODE, Rig, until};

const SHIM: &str = "multus-shim";

struct Daemon {
    rig: Rig,
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts the daemon, and waits until it has written its conf and found its DaemonSet.
    async fn start(is_present: bool) -> Self {
        let rig = Rig::new().await;
        if is_present {
            rig.api.apply(daemon_set());
        }
        let at = rig.dir.path();
        std::fs::create_dir(at.join("net.d")).unwrap();
        let primary = json!({"cniVersion": "1.0.0", "name": "p", "plugins": [{"type": "bridge"}]});
        std::fs::write(at.join("net.d/10-p.conflist"), primary.to_string()).unwrap();
        let config = json!({
            "socketDir": at.join("run"),
            "cniDir": at.join("ledger"),
            "kubeconfig": at.join("kubeconfig"),
            "cniVersion": "1.0.0",
            "multusConfigFile": "auto",
            "multusAutoconfigDir": at.join("net.d"),
            "cniConfigDir": at.join("net.d"),
            "logLevel": "verbose",
            "cnidaria": {
                "nodeName": NODE,
                "daemonSet": "kube-system/cnidaria",
                "policies": {
                    "modules": at.join("modules"),
                    "cache": at.join("cache"),
                    "state": at.join("state"),
                },
            },
        });
        add_broken_policy(&rig, &at.join("modules"));
        std::fs::write(at.join("daemon-config.json"), config.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cnidaria-daemon"))
            .arg("--config")
            .arg(at.join("daemon-config.json"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(at.join("log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Self { rig, child };
        let log = daemon.rig.dir.path().join("log");
        let has_found = || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("found the DaemonSet") || log.contains("daemonSet cannot be read")
        };
        let both = async {
            while !daemon.conf().exists() || !has_found() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, both).await.unwrap();
        assert!(
            std::fs::read_to_string(daemon.conf())
                .unwrap()
                .contains(SHIM)
        );
        daemon
    }

    fn conf(&self) -> PathBuf {
        self.rig.dir.path().join("net.d/00-multus.conf")
    }

    /// Sends SIGTERM, and waits for the end.
    async fn end(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let ended = async {
            while self.child.try_wait().unwrap().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, ended).await.unwrap();
    }

    /// Whether the conf is there after SIGTERM.
    async fn keeps_conf(mut self) -> bool {
        self.end().await;
        self.conf().exists()
    }
}

/// A policy that does not load, on a node that the cluster has.
fn add_broken_policy(rig: &Rig, modules: &Path) {
    rig.api
        .apply(json!({"kind": "Node", "metadata": {"name": NODE}}));
    std::fs::create_dir(modules).unwrap();
    std::fs::write(modules.join("10-a.json"), "{").unwrap();
}

/// Waits until the cluster shows the policy.
async fn policy_is_shown(daemon: &Daemon) -> serde_json::Value {
    let shown = || {
        let object = daemon.rig.api.get("PolicyNodeStatus", "", NODE)?;
        object["status"].is_object().then_some(object)
    };
    until(|| shown().is_some()).await;
    shown().unwrap()
}

fn daemon_set() -> serde_json::Value {
    json!({
        "kind": "DaemonSet",
        "apiVersion": "apps/v1",
        "metadata": {"name": "cnidaria", "namespace": "kube-system"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_shown_until_uninstalled() {
    for is_uninstalled in [false, true] {
        let mut daemon = Daemon::start(true).await;
        let object = policy_is_shown(&daemon).await;
        let policy = &object["status"]["policies"][0];
        assert_eq!(policy["name"], "10-a");
        assert_eq!(policy["state"], "Failed");
        assert!(policy["reason"].as_str().unwrap().contains("10-a.json"));
        if is_uninstalled {
            daemon
                .rig
                .api
                .delete("DaemonSet", "kube-system", "cnidaria");
        }
        daemon.end().await;
        let object = daemon.rig.api.get("PolicyNodeStatus", "", NODE);
        let stays = object.is_some();
        assert_eq!(stays, !is_uninstalled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_keeps_the_conf() {
    let daemon = Daemon::start(true).await;
    assert!(daemon.keeps_conf().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_daemonset_removes_the_conf() {
    let daemon = Daemon::start(true).await;
    daemon
        .rig
        .api
        .delete("DaemonSet", "kube-system", "cnidaria");
    assert!(!daemon.keeps_conf().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemonset_being_deleted_is_gone() {
    let daemon = Daemon::start(true).await;
    let mut deleted = daemon_set();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    daemon.rig.api.apply(deleted);
    assert!(!daemon.keeps_conf().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_go_with_the_daemonset_say_so() {
    let daemon = Daemon::start(true).await;
    let none = fake_api::User::service_account("default", "none");
    let token = daemon.rig.api.issue_token(none);
    // As when the service account is deleted together with the DaemonSet.
    daemon.rig.api.revoke_token(&daemon.rig.token);
    let kubeconfig = daemon.rig.dir.path().join("kubeconfig");
    daemon
        .rig
        .api
        .write_kubeconfig(&kubeconfig, &token)
        .unwrap();
    assert!(!daemon.keeps_conf().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_removes_nothing() {
    let daemon = Daemon::start(false).await;
    assert!(daemon.keeps_conf().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_the_conf_stays() {
    let daemon = Daemon::start(true).await;
    daemon.rig.api.go_down();
    assert!(daemon.keeps_conf().await);
}
