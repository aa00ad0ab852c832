//! What an earlier boot left in a ledger on disk, with fakes of every other port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cni_types::json::RawObject;
use cnidaria_core::pipeline::{Error, Pipeline};
use daemon::adapters::ledger::{Boot, Files};
use daemon::config::own::Durability;
use serde_json::Value;
use support::{World, body, gc_body};
use tempfile::TempDir;

/// A node whose ledger is a directory.
struct Node {
    world: Arc<World>,
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let world = World::new();
        world.pod("a", "one");
        let dir = tempfile::tempdir().unwrap();
        Self { world, dir }
    }

    /// A daemon started an hour after the earlier boot's files were written.
    #[expect(clippy::disallowed_methods, reason = "times of files")]
    fn daemon(&self) -> Arc<Pipeline> {
        let booted = SystemTime::now() - Duration::from_secs(3600);
        let files = Files::new(Durability::Grouped).with_boot(Boot::at(booted));
        let mut overrides = RawObject::new();
        overrides.set("cniDir", self.dir.path()).unwrap();
        self.world.pipeline_with(Arc::new(files), overrides)
    }

    async fn with_a() -> Self {
        let node = Self::new();
        node.daemon().handle(&body("ADD", "a")).await.unwrap();
        node
    }

    fn plan(&self) -> PathBuf {
        self.dir.path().join("cid-a")
    }

    fn results(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.path().join("results")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Rewrites all files as Multus would have written them, two hours ago.
    #[expect(clippy::disallowed_methods, reason = "times of files")]
    fn as_of_multus(&self) {
        let before = SystemTime::now() - Duration::from_secs(7200);
        for path in self.results().iter().chain([&self.plan()]) {
            let mut text: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let members = match &mut text {
                Value::Array(plan) => plan.iter_mut().collect(),
                result => vec![result],
            };
            for member in members {
                let object = member.as_object_mut().unwrap();
                object.retain(|key, _| !matches!(key.as_str(), "sha256" | "cnidaria"));
            }
            fs::write(path, text.to_string()).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(before).unwrap();
        }
    }

    fn reboot(&self) {
        *self.world.boot.lock().unwrap() = "another".to_owned();
        self.world.log();
    }

    /// Runs what a daemon does by itself after its start.
    async fn start(&self) -> Arc<Pipeline> {
        let daemon = self.daemon();
        tokio::select! {
            () = daemon.finish_undos(self.dir.path()) => {}
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
        }
        daemon
    }

    /// The same until everything recorded is undone.
    async fn start_and_undo(&self) {
        let daemon = self.daemon();
        let undone = async {
            while !self.is_undone() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = daemon.finish_undos(self.dir.path()) => {}
            undone = tokio::time::timeout(Duration::from_secs(30), undone) => undone.unwrap(),
        }
    }

    fn is_undone(&self) -> bool {
        !self.plan().exists() && self.results().is_empty()
    }
}

const UNDONE: [&str; 4] = [
    "without netns net1",
    "del one",
    "without netns eth0",
    "del default",
];

#[tokio::test]
async fn results_alone_are_undone_after_a_reboot() {
    let node = Node::with_a().await;
    fs::remove_file(node.plan()).unwrap();
    node.start().await;
    assert_eq!(node.results().len(), 2, "of this boot");
    node.reboot();
    node.start_and_undo().await;
    assert_eq!(node.world.log()[..4], UNDONE);
}

#[tokio::test]
async fn an_id_with_results_alone_can_be_added() {
    for is_listed in [false, true] {
        let node = Node::with_a().await;
        fs::remove_file(node.plan()).unwrap();
        node.reboot();
        let daemon = match is_listed {
            true => node.start().await,
            false => node.daemon(),
        };
        daemon.handle(&body("ADD", "a")).await.unwrap();
        assert_eq!(node.world.log()[..4], UNDONE);
        assert!(node.plan().exists() && node.results().len() == 2);
    }
}

#[tokio::test]
async fn files_of_multus_tell_their_boot_by_their_age() {
    for has_plan in [true, false] {
        let node = Node::with_a().await;
        node.as_of_multus();
        if !has_plan {
            fs::remove_file(node.plan()).unwrap();
        }
        node.world.fail("netns gone");
        node.world.log();
        node.start_and_undo().await;
        assert_eq!(node.world.log()[..4], UNDONE);
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "times of files")]
async fn younger_files_of_multus_are_left_alone() {
    let node = Node::with_a().await;
    node.as_of_multus();
    for path in node.results().iter().chain([&node.plan()]) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }
    node.world.fail("netns gone");
    node.start().await;
    assert!(node.plan().exists());
    assert_eq!(node.results().len(), 2);
}

#[tokio::test]
async fn an_old_file_ends_no_pod_whose_path_is_there() {
    let node = Node::with_a().await;
    node.as_of_multus();
    node.world.log();
    let daemon = node.start().await;
    assert!(node.plan().exists(), "the clock may have been wrong");
    assert!(node.world.log().iter().all(|done| !done.starts_with("del")));
    // The runtime's ADD proves that the old sandbox is gone.
    daemon.handle(&body("ADD", "a")).await.unwrap();
    assert_eq!(node.world.log()[..4], UNDONE);
}

#[tokio::test]
async fn a_pod_outlives_the_age_of_its_files() {
    for verb in ["CHECK", "ADD", "DEL", "plug", "GC"] {
        let node = Node::with_a().await;
        node.as_of_multus();
        for interface in ["eth0", "net1"] {
            node.world.fail(&format!("exists {interface}"));
        }
        let daemon = node.start().await;
        node.world.log();
        match verb {
            "plug" => support::runtimes::plug(&daemon, "ADD", "a").await,
            "GC" => drop(daemon.handle(&gc_body(Some("cid-b"))).await.unwrap()),
            "ADD" => {
                let error = daemon.handle(&body(verb, "a")).await.unwrap_err();
                assert!(matches!(error, Error::Attached(_)), "{error}");
            }
            _ => drop(daemon.handle(&body(verb, "a")).await.expect(verb)),
        }
        let log = node.world.log();
        let is_outside = log.iter().any(|done| done.starts_with("without netns"));
        assert!(!is_outside, "{verb}: {log:?}");
        let is_undone = matches!(verb, "DEL" | "GC");
        assert_eq!(log.contains(&"del one".to_owned()), is_undone, "{log:?}");
        assert_eq!(node.is_undone(), is_undone, "{verb}");
    }
}

#[tokio::test]
async fn an_old_path_of_another_pod_is_not_entered() {
    let node = Node::with_a().await;
    node.as_of_multus();
    node.world.fail("exists eth0");
    node.world.pod("b", "");
    // The process of the path ended, and its number is that of another pod's.
    let mut request = shim_api::Request::parse(&body("ADD", "b")).unwrap();
    let path = ("CNI_NETNS".to_owned(), "/run/netns/a".to_owned());
    request.env.extend([path]);
    let daemon = node.daemon();
    node.world.mend();
    daemon.handle(&request.to_json()).await.unwrap();
    node.world.fail("exists eth0");
    node.world.log();
    daemon.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(node.world.log()[..4], UNDONE);
}

#[tokio::test]
async fn results_alone_know_their_namespace() {
    for verb in ["DEL", "GC"] {
        let node = Node::with_a().await;
        fs::remove_file(node.plan()).unwrap();
        // The path now belongs to another pod's namespace.
        *node.world.namespaces.lock().unwrap() += 1;
        node.world.log();
        let request = match verb {
            "GC" => gc_body(Some("cid-other")),
            _ => body("DEL", "a"),
        };
        node.daemon().handle(&request).await.unwrap();
        assert_eq!(node.world.log()[..4], UNDONE, "{verb}");
        assert!(node.is_undone(), "{verb}");
    }
}

#[tokio::test]
async fn thousands_of_results_hold_up_no_add() {
    let node = Node::with_a().await;
    let results = node.dir.path().join("results");
    let result = fs::read_to_string(results.join("default-cid-a-eth0")).unwrap();
    let (_, result) = result.split_once(r#","kind""#).unwrap();
    for number in 0..2000 {
        let id = format!("old-{number}");
        let text = format!(r#"{{"kind"{result}"#).replace("cid-a", &id);
        fs::write(results.join(format!("default-{id}-eth0")), text).unwrap();
    }
    node.reboot();
    node.world.pod("b", "");
    let daemon = node.daemon();
    let undoing = daemon.finish_undos(Path::new(node.dir.path()));
    let adding = async {
        tokio::task::yield_now().await;
        daemon.handle(&body("ADD", "b")).await.unwrap();
        assert!(node.results().len() > 1000, "before all are undone");
        while node.results().len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = undoing => {}
        () = adding => {}
    }
    assert!(results.join("default-cid-b-eth0").exists());
}

/// Empties the plan and, if there is one, the result of the second network; removes other results.
fn damage(node: &Node, keeps_results: bool) {
    File::create(node.plan()).unwrap();
    for result in node.results() {
        match keeps_results {
            true if !result.ends_with("one-cid-a-net1") => {}
            true => drop(File::create(result).unwrap()),
            false => fs::remove_file(result).unwrap(),
        }
    }
}

#[tokio::test]
async fn a_damaged_record_refuses_no_add() {
    for keeps_results in [true, false] {
        for is_rebooted in [true, false] {
            let node = Node::with_a().await;
            damage(&node, keeps_results);
            *node.world.namespaces.lock().unwrap() += 1;
            if is_rebooted {
                node.reboot();
            }
            let daemon = node.daemon();
            node.world.log();
            daemon.handle(&body("ADD", "a")).await.unwrap();
            let log = node.world.log();
            let place = |what: &str| log.iter().position(|done| done == what).unwrap();
            for network in ["default", "one"] {
                let (del, add) = (format!("del {network}"), format!("add {network}"));
                assert!(place(&del) < place(&add), "{log:?}");
            }
            assert_eq!(node.results().len(), 2);
            let aside = fs::read_dir(node.dir.path().join(".damaged")).unwrap();
            assert!(aside.count() > 0);
            daemon.handle(&body("DEL", "a")).await.unwrap();
            assert!(node.is_undone());
        }
    }
}

#[tokio::test]
async fn a_damaged_record_of_an_earlier_boot_is_undone() {
    let node = Node::with_a().await;
    damage(&node, true);
    node.reboot();
    let daemon = node.daemon();
    let undone = async {
        while node.plan().exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = daemon.finish_undos(node.dir.path()) => {}
        undone = tokio::time::timeout(Duration::from_secs(30), undone) => undone.unwrap(),
    }
    assert!(node.world.log().contains(&"del default".to_owned()));
}

#[tokio::test]
async fn results_alone_of_this_boot_come_first() {
    for is_restarted in [true, false] {
        let node = Node::new();
        let mut daemon = node.daemon();
        daemon.handle(&body("ADD", "a")).await.unwrap();
        if is_restarted {
            fs::remove_file(node.plan()).unwrap();
            daemon = node.start().await;
        } else {
            daemon = node.start().await;
            daemon.handle(&body("DEL", "a")).await.unwrap();
            daemon.handle(&body("ADD", "a")).await.unwrap();
            fs::remove_file(node.plan()).unwrap();
        }
        // The pod has another namespace at the same path.
        *node.world.namespaces.lock().unwrap() += 1;
        node.world.log();
        daemon.handle(&body("ADD", "a")).await.unwrap();
        assert_eq!(node.world.log()[..4], UNDONE);
        assert!(node.plan().exists() && node.results().len() == 2);
    }
}

#[tokio::test]
async fn results_of_a_running_pod_are_left_alone() {
    let node = Node::with_a().await;
    fs::remove_file(node.plan()).unwrap();
    for interface in ["eth0", "net1"] {
        node.world.fail(&format!("exists {interface}"));
    }
    node.world.log();
    let error = node.daemon().handle(&body("ADD", "a")).await.unwrap_err();
    assert!(matches!(error, Error::Attached(_)), "{error}");
    assert_eq!(node.results().len(), 2);
    assert!(node.world.log().iter().all(|done| !done.starts_with("del")));
}

#[tokio::test]
async fn an_undo_is_made_without_its_record() {
    for damage in ["lost", "empty", "torn", "directory", "link"] {
        let node = Node::with_a().await;
        for fault in ["netns gone", "del one"] {
            node.world.fail(fault);
        }
        node.daemon().handle(&body("DEL", "a")).await.unwrap();
        let record = node.dir.path().join(".undo/cid-a");
        match damage {
            "empty" => fs::write(&record, "").unwrap(),
            "torn" => fs::write(&record, "{").unwrap(),
            _ => fs::remove_file(&record).unwrap(),
        }
        match damage {
            "directory" => fs::create_dir(&record).unwrap(),
            "link" => std::os::unix::fs::symlink("nowhere", &record).unwrap(),
            _ => {}
        }
        node.world.mend();
        node.world.fail("netns gone");
        let daemon = node.daemon();
        daemon.begin(node.dir.path()).await;
        let undone = async {
            while !node.is_undone() || record.symlink_metadata().is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = daemon.finish_undos(node.dir.path()) => {}
            undone = tokio::time::timeout(Duration::from_secs(30), undone) => undone.expect(damage),
        }
    }
}

#[tokio::test]
async fn an_attachment_whose_namespace_lives_is_kept() {
    let node = Node::with_a().await;
    node.world.log();
    node.start().await;
    assert!(node.plan().exists());
    assert!(node.world.log().iter().all(|done| !done.starts_with("del")));
}
