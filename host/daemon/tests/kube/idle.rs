//! The daemon as a process, with full caches and nothing to do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::rig::{self, LONG, NODE, Rig};

/// How long the daemon must stay idle. Any periodic timer fires once a second.
const WINDOW: Duration = Duration::from_secs(3);

const PODS: usize = 1000;
/// A realistic size.
const POD_BYTES: usize = 50_000;

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

    /// Memory of its own, without the program's pages.
    fn memory(&self) -> usize {
        let status = Path::new("/proc")
            .join(self.0.id().to_string())
            .join("status");
        let status = std::fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<usize>().unwrap() << 10
    }

    /// Context switches of its threads, voluntary or not: one for each wakeup.
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
async fn idle_daemon_is_small_and_has_no_timers() {
    let rig = Rig::new().await;
    for number in 0..PODS {
        let mut pod = rig::pod(&format!("p{number}"), NODE);
        let nothing_that_is_needed = "x".repeat(POD_BYTES);
        pod["spec"]["containers"][0]["env"] =
            json!([{"name": "X", "value": nothing_that_is_needed}]);
        rig.api.apply(pod);
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
    // However long reading all of that takes: a periodic timer never allows such a window.
    let idle = async {
        loop {
            let before = daemon.switches();
            rig.api.take_requests();
            tokio::time::sleep(WINDOW).await;
            if daemon.switches() == before && rig.api.take_requests().is_empty() {
                return;
            }
        }
    };
    let idle = tokio::time::timeout(10 * WINDOW + LONG, idle).await;
    assert!(idle.is_ok(), "something ticks");
    let sent = PODS * POD_BYTES;
    assert!(daemon.memory() < sent / 3, "{} of {sent}", daemon.memory());
}
