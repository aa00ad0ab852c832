//! Further `cniDir`s that are missing, unreadable or damaged, with a ledger on disk and fakes of
//! every other port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::runtimes::{Node, USUAL, deletions, given};

/// What delegates collect.
fn collections(log: &[String]) -> usize {
    log.iter().filter(|done| done.starts_with("gc ")).count()
}

#[tokio::test]
async fn an_unreadable_directory_costs_others_little() {
    let node = Node::new();
    let (kubelet, podman) = (node.runtime(USUAL, "l"), node.runtime("pods", "other"));
    let daemon = node.daemon().await;
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    podman.call(&daemon, "ADD", "b").await.unwrap();
    assert!(collections(&kubelet.gc(&daemon, &["a"]).await) > 0);
    let other = node.path("other");
    let aside = node.path("aside");
    std::fs::rename(&other, &aside).unwrap();
    for is_file in [false, true] {
        if is_file {
            std::fs::write(&other, "").unwrap();
        }
        for daemon in [&daemon, &node.daemon().await] {
            // Delegates would take b for gone.
            let log = kubelet.gc(daemon, &["a"]).await;
            assert_eq!(collections(&log), 0, "{log:?}");
            let log = kubelet.gc(daemon, &[]).await;
            assert_eq!(deletions(&log), ["del one", "del default"]);
            kubelet.call(daemon, "ADD", "a").await.unwrap();
            kubelet.call(daemon, "CHECK", "a").await.unwrap();
        }
    }
    std::fs::remove_file(&other).unwrap();
    std::fs::rename(&aside, &other).unwrap();
    let log = kubelet.gc(&daemon, &["a"]).await;
    assert!(given(&log)[0].contains("cid-b/eth0"), "{log:?}");
}

#[tokio::test]
async fn a_directory_that_is_missing_stays_remembered() {
    let node = Node::new();
    let podman = node.runtime("pods", "other");
    podman.call(&node.daemon().await, "ADD", "b").await.unwrap();
    std::fs::rename(node.path("other"), node.path("aside")).unwrap();
    drop(node.daemon().await);
    std::fs::rename(node.path("aside"), node.path("other")).unwrap();
    let daemon = node.daemon().await;
    assert_eq!(daemon.directories(), [node.path("own"), node.path("other")]);
}

#[tokio::test]
async fn delegates_collect_if_all_dirs_are_known() {
    let node = Node::new();
    let (kubelet, podman) = (node.runtime(USUAL, "l"), node.runtime("pods", "other"));
    podman.call(&node.daemon().await, "ADD", "b").await.unwrap();
    std::fs::write(node.path("own/.directories"), "").unwrap();
    let daemon = node.daemon().await;
    assert_eq!(daemon.directories(), [node.path("own"), node.path("other")]);
    for name in [".directories", ".directories.copy"] {
        std::fs::write(node.path("own").join(name), "").unwrap();
    }
    for _ in 0..2 {
        let daemon = node.daemon().await;
        kubelet.call(&daemon, "CHECK", "a").await.unwrap_err();
        let log = kubelet.gc(&daemon, &["a"]).await;
        assert_eq!(collections(&log), 0, "{log:?}");
    }
    // Nothing of this boot's is left after the next one.
    let remembered = node.path("own/.directories");
    let text = std::fs::read_to_string(&remembered).unwrap();
    let mut text: Value = serde_json::from_str(&text).unwrap();
    text["incompleteInBoot"] = json!("an earlier one");
    std::fs::write(&remembered, text.to_string()).unwrap();
    let log = kubelet.gc(&node.daemon().await, &["a"]).await;
    assert!(collections(&log) > 0, "{log:?}");
}

#[tokio::test]
async fn odd_files_fail_no_gc() {
    let node = Node::new();
    let kubelet = node.runtime(USUAL, "l");
    let daemon = node.daemon().await;
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    std::fs::create_dir(node.path("l/results/x-abc-eth0")).unwrap();
    let socket = node.path("l/results/y-abc-eth0");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let log = kubelet.gc(&daemon, &["a"]).await;
    assert_eq!(given(&log), ["cid-a/eth0 cid-a/net1"]);
    // Nothing of a running pod can be read: what it may have counts as in use.
    std::fs::write(node.path("l/cid-a"), "x").unwrap();
    for result in ["default-cid-a-eth0", "one-cid-a-net1"] {
        std::fs::write(node.path("l/results").join(result), "").unwrap();
    }
    let log = kubelet.gc(&daemon, &["a"]).await;
    assert!(given(&log)[0].contains("cid-a/eth0 cid-a/net1"), "{log:?}");
    assert!(deletions(&log).is_empty(), "{log:?}");
}

#[tokio::test]
async fn one_id_in_two_directories_is_forgotten_in_one() {
    let node = Node::new();
    let (old, new) = (node.runtime(USUAL, "l"), node.runtime(USUAL, "m"));
    old.call(&node.daemon().await, "ADD", "a").await.unwrap();
    node.forget_directories();
    // This daemon does not know the first directory yet.
    let daemon = node.daemon().await;
    *node.world.namespaces.lock().unwrap() += 1;
    new.call(&daemon, "ADD", "a").await.unwrap();
    old.call(&daemon, "CHECK", "b").await.unwrap_err();
    let container = cni_types::args::ContainerId::new("cid-a").unwrap();
    let both = [node.path("m"), node.path("l")];
    assert_eq!(daemon.holding(&container, None).await, both);
    let bonds = node.world.bonds.lock().unwrap().len();
    let forgotten = daemon.forget(&both[1], &container, None).await.unwrap();
    assert_eq!(forgotten.len(), 2);
    assert_eq!(daemon.holding(&container, None).await, both[..1]);
    assert_eq!(node.world.bonds.lock().unwrap().len(), bonds, "it runs");
    new.call(&daemon, "CHECK", "a").await.unwrap();
}
