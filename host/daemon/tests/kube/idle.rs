//! The daemon as a process, with full caches and nothing to do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::rig::{self, LONG, NODE, Rig};

/// How long nothing may happen. What ticks at all ticks once a second.
const WINDOW: Duration = Duration::from_secs(3);

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(rig: &Rig) -> Self {
        let at = rig.dir.path();
        let config = json!({
            "socketDir": at.join("run"),
            "cniDir": at.join("ledger"),
            "kubeconfig": at.join("kubeconfig"),
            "cnidaria": {"nodeName": NODE},
        });
        std::fs::write(at.join("daemon-config.json"), config.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cnidaria-daemon"))
            .arg("-config")
            .arg(at.join("daemon-config.json"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// How often its threads gave up a processor, willingly or not: each time one woke up.
    fn switches(&self) -> u64 {
        let tasks = Path::new("/proc")
            .join(self.0.id().to_string())
            .join("task");
        let tasks = std::fs::read_dir(tasks).unwrap();
        let of_task = |status: String| -> u64 {
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            let counts =
                lines.filter_map(|line| line.split_once(':')?.1.trim().parse::<u64>().ok());
            counts.sum()
        };
        tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
            .map(of_task)
            .sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ticks_while_nothing_changes() {
    let rig = Rig::new().await;
    for number in 0..1000 {
        rig.pod(&format!("p{number}"));
    }
    for number in 0..200 {
        rig.api.apply(rig::nad(&format!("x{number}")));
    }
    let daemon = Daemon::start(&rig);
    let watched = |requests: &[fake_api::Recorded]| {
        let watches = requests.iter().filter(|r| r.act().starts_with("watch "));
        watches.count() == 2
    };
    tokio::time::timeout(LONG, rig.api.wait_for(watched))
        .await
        .unwrap();
    // Until everything is read and the last thread sleeps.
    let quiet = async {
        let mut before = daemon.switches();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = daemon.switches();
            if now == before {
                return now;
            }
            before = now;
        }
    };
    let before = tokio::time::timeout(LONG, quiet).await.unwrap();
    rig.api.take_requests();
    tokio::time::sleep(WINDOW).await;
    assert_eq!(daemon.switches() - before, 0);
    assert!(rig.api.take_requests().is_empty());
}
