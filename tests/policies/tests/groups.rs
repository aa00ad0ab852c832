//! The control group of a compilation. Needs a writable cgroup v2; its controllers may be missing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use policy_engine::{Config, LoadState, PolicyHost};
use policy_tests::{Policies, only, trouble, until};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A directory for the groups of one test.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Option<Self> {
        let name = format!("policies-{}-{test}", std::process::id());
        let mut roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .map(Path::new);
        let is_v2 = |root: &&Path| root.join("cgroup.subtree_control").exists();
        let place = roots.find(is_v2).map(|root| root.join(name));
        if let Some(dir) = place
            && fs::create_dir(&dir).is_ok()
        {
            return Some(Self(dir));
        }
        eprintln!("skipped: needs a control group of version 2 that can be written to");
        None
    }

    /// The groups of compilations.
    fn leaves(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let dirs = entries.map(|entry| entry.path());
        dirs.filter(|path| path.is_dir()).collect()
    }

    async fn is_emptied(&self) {
        until(|| self.leaves().is_empty()).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for leaf in self.leaves() {
            let _ = fs::write(leaf.join("cgroup.kill"), "1");
        }
        for _ in 0..200 {
            for leaf in self.leaves() {
                let _ = fs::remove_dir(leaf);
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// One small policy, and a compiler that runs `script` first.
fn policies(script: &str, cgroup: &Path) -> (Policies, Config) {
    let module = wat::parse_str(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $m (memory (export "memory") 1) (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#,
    );
    let policies = Policies::new(COMPILER).with_own_cache();
    let policies = policies.with_module("10-small", &module.unwrap(), &json!({}));
    let script = format!("{script}\nexec {COMPILER} \"$@\"");
    let mut config = policies.scripted(&script);
    config.compile_cgroup = Some(cgroup.to_owned());
    (policies, config)
}

#[tokio::test]
async fn a_compilation_has_a_leaf_that_is_removed() {
    let Some(place) = Place::new("leaf") else {
        return;
    };
    let dir = place.0.join("compilations");
    let (policies, config) = policies("", &dir);
    let seen = policies.path("seen");
    let script = format!(
        "ls {} >> {}; exec {COMPILER} \"$@\"",
        dir.display(),
        seen.display()
    );
    fs::write(policies.path("does"), script).unwrap();
    let host = PolicyHost::load(config).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    let seen = fs::read_to_string(seen).unwrap();
    let leaves = seen.lines().filter(|name| name.starts_with("compile-"));
    // The compilation and the dry run.
    assert_eq!(leaves.count(), 2, "{seen}");
    let left = || fs::read_dir(&dir).unwrap().flatten();
    until(|| !left().any(|entry| entry.path().is_dir())).await;
    fs::remove_dir(&dir).unwrap();
}

#[tokio::test]
async fn the_child_moves_itself_into_the_leaf() {
    let Some(place) = Place::new("moves") else {
        return;
    };
    let leaf = place.0.join("compile-1-1");
    fs::create_dir(&leaf).unwrap();
    let confinement = json!({
        "parent": std::process::id(), "memoryBytes": 300 << 20, "seconds": 60, "cgroup": leaf,
    });
    let mut child = Command::new(COMPILER)
        .args(["policy", "compile", "--child", &confinement.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let procs = leaf.join("cgroup.procs");
    let own = child.id().to_string();
    until(|| fs::read_to_string(&procs).unwrap().trim() == own).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_compilation_that_is_killed_leaves_no_group() {
    let Some(place) = Place::new("killed") else {
        return;
    };
    // Its own child stays in the group as well.
    let script = format!(
        "for leaf in {}/compile-*; do echo $$ > $leaf/cgroup.procs; done; sleep 1000 & exec sleep 1000",
        place.0.display()
    );
    let (_policies, mut config) = policies(&script, &place.0);
    config.compile_timeout = Duration::from_millis(500);
    let host = PolicyHost::load(config).await;
    assert_eq!(only(&host).state, LoadState::Broken);
    let reason = trouble(&host);
    assert!(reason.contains("did not end within 500 ms"), "{reason}");
    place.is_emptied().await;
}

#[tokio::test]
async fn without_a_group_modules_compile_all_the_same() {
    let plain = tempfile::tempdir().unwrap();
    for dir in [plain.path(), Path::new("/proc/nothing")] {
        let (_policies, config) = policies("", dir);
        let host = PolicyHost::load(config).await;
        assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    }
    assert_eq!(fs::read_dir(plain.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn leaves_of_earlier_daemons_are_removed() {
    let Some(place) = Place::new("swept") else {
        return;
    };
    fs::create_dir(place.0.join("compile-1-7")).unwrap();
    let (_policies, config) = policies("", &place.0);
    let host = PolicyHost::load(config).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    place.is_emptied().await;
}
