//! Plugins in a control group of their own. Needs a writable cgroup v2.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libcni::cgroup::Cgroup;
use libcni::exec::Limits;
use support::{Plugins, list, runtime};

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

const NETWORK: &str = r#"{"cniVersion":"1.0.0","name":"n","type":"plugin"}"#;

/// A control group for one test.
struct Place {
    dir: PathBuf,
    cgroup: Cgroup,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        let name = format!("libcni-{}-{test}", std::process::id());
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let dir = Path::new(root).join(&name);
            if let Ok(cgroup) = Cgroup::open(&dir) {
                return Some(Self { dir, cgroup });
            }
        }
        eprintln!("skipped: needs a control group of version 2 that can be written to");
        None
    }

    /// Number of child groups.
    fn children(&self) -> usize {
        let entries = fs::read_dir(&self.dir).unwrap().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Killed processes take a moment to disappear.
        for _ in 0..200 {
            for child in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(child.path());
            }
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn plugin_runs_in_its_own_temporary_cgroup() {
    let Some(place) = Place::new("runs") else {
        return;
    };
    let plugins = Plugins::new();
    plugins.script(
        "plugin",
        "#!/bin/sh\ncat >/dev/null\ncat /proc/self/cgroup > ${0%/*}/group\n",
    );
    let cni = plugins.cni().with_cgroup(Some(place.cgroup.clone()));
    cni.del(&list(NETWORK), &runtime("{}"), None).await.unwrap();
    let group = fs::read_to_string(plugins.path().join("group")).unwrap();
    let expected = format!(
        "libcni-{}-runs/plugin-{}-0",
        std::process::id(),
        std::process::id()
    );
    assert!(group.contains(&expected), "{group}");
    assert_eq!(place.children(), 0);
}

/// Whether a process exits within the timeout.
async fn ends(pid: &str) -> bool {
    for _ in 0..500 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn deadline_kills_the_whole_cgroup() {
    let Some(place) = Place::new("kills") else {
        return;
    };
    let plugins = Plugins::new();
    plugins.script(
        "plugin",
        "#!/bin/sh\ncat >/dev/null\nsetsid sh -c 'echo $$ > \"$0\"; exec sleep 1000' ${0%/*}/pid &\nexec sleep 1000\n",
    );
    let limits = Limits {
        deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let cni = plugins.cni().with_limits(limits);
    let cni = cni.with_cgroup(Some(place.cgroup.clone()));
    cni.del(&list(NETWORK), &runtime("{}"), None)
        .await
        .unwrap_err();
    let pid = fs::read_to_string(plugins.path().join("pid")).unwrap();
    assert!(ends(pid.trim()).await, "it lives on");
}

#[tokio::test]
async fn leftover_process_keeps_its_cgroup() {
    let Some(place) = Place::new("leaves") else {
        return;
    };
    let plugins = Plugins::new();
    plugins.script(
        "plugin",
        "#!/bin/sh\ncat >/dev/null\n[ -e ${0%/*}/pid ] && exit 0\n\
         setsid sleep 1000 >/dev/null 2>&1 &\necho $! > ${0%/*}/pid\n",
    );
    let cni = plugins.cni().with_cgroup(Some(place.cgroup.clone()));
    cni.del(&list(NETWORK), &runtime("{}"), None).await.unwrap();
    assert_eq!(place.children(), 1, "it is there on purpose");
    let pid = fs::read_to_string(plugins.path().join("pid")).unwrap();
    let kill = Command::new("kill")
        .arg(pid.trim())
        .stderr(Stdio::null())
        .status();
    assert!(kill.unwrap().success());
    assert!(ends(pid.trim()).await);
    cni.del(&list(NETWORK), &runtime("{}"), None).await.unwrap();
    assert_eq!(place.children(), 0);
}

#[test]
fn non_cgroup_directory_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("group");
    assert!(Cgroup::open(&path).is_err());
    assert!(!path.exists());
}
