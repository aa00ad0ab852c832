//! Several runtimes on one node: confs of other names, and of other `cniDir`s, with a ledger on disk
//! and fakes of every other port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;

use serde_json::Value;
use shim_api::deferred::{Record, boot_id};
use support::runtimes::{Node, USUAL, deletions, given, plug};

#[tokio::test]
async fn gc_keeps_what_another_runtime_attached() {
    for (theirs, own) in [("l", "l"), ("other", "l"), ("l", "other")] {
        let node = Node::new();
        let daemon = node.daemon().await;
        let (kubelet, podman) = (node.runtime(USUAL, theirs), node.runtime("pods", own));
        kubelet.call(&daemon, "ADD", "a").await.unwrap();
        podman.call(&daemon, "ADD", "b").await.unwrap();
        plug(&daemon, "ADD", "b").await;
        let all = "cid-a/eth0 cid-a/net1 cid-b/eth0 cid-b/net1 cid-b/net5";
        // The delegates that both use learn of both.
        let log = kubelet.gc(&daemon, &["a"]).await;
        assert_eq!(given(&log), [all]);
        assert!(deletions(&log).is_empty(), "{log:?}");
        assert!(!log.contains(&"gc two".to_owned()), "not theirs: {log:?}");
        let log = podman.gc(&daemon, &["b"]).await;
        assert_eq!(given(&log), [all]);
        assert!(deletions(&log).is_empty(), "{log:?}");
        // Each collects its own.
        let log = kubelet.gc(&daemon, &[]).await;
        assert_eq!(
            deletions(&log),
            ["del one", "del default"],
            "{theirs} {own}"
        );
        assert_eq!(given(&log), ["cid-b/eth0 cid-b/net1 cid-b/net5"]);
        let log = podman.gc(&daemon, &[]).await;
        assert_eq!(deletions(&log), ["del hot", "del two", "del default"]);
    }
}

#[tokio::test]
async fn gc_after_a_restart_keeps_them_as_well() {
    let node = Node::new();
    let (kubelet, podman) = (node.runtime(USUAL, "l"), node.runtime("pods", "other"));
    podman.call(&node.daemon().await, "ADD", "b").await.unwrap();
    let daemon = node.daemon().await;
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    let log = kubelet.gc(&daemon, &[]).await;
    assert_eq!(given(&log), ["cid-b/eth0 cid-b/net1"]);
    // What only its results tell is known by its runtime's name, too.
    std::fs::remove_file(node.path("other/cid-b")).unwrap();
    let log = node.runtime(USUAL, "other").gc(&daemon, &[]).await;
    assert!(deletions(&log).is_empty(), "{log:?}");
}

#[tokio::test]
async fn a_renamed_conf_collects_no_living_pod() {
    let node = Node::new();
    let (old, new) = (node.runtime(USUAL, "l"), node.runtime("renamed", "l"));
    old.call(&node.daemon().await, "ADD", "a").await.unwrap();
    let daemon = node.daemon().await;
    for pods in [&[][..], &["a"]] {
        let log = new.gc(&daemon, pods).await;
        assert!(deletions(&log).is_empty(), "{log:?}");
        assert_eq!(given(&log), ["cid-a/eth0 cid-a/net1"]);
    }
    new.call(&daemon, "CHECK", "a").await.unwrap();
    new.call(&daemon, "DEL", "a").await.unwrap();
    assert!(!node.path("l/cid-a").exists());
}

/// Removes from a plan and its results what older daemons did not write.
fn as_of_multus(dir: &Path, container: &str) {
    let results = std::fs::read_dir(dir.join("results")).unwrap();
    let results = results.map(|file| file.unwrap().path());
    for path in results.chain([dir.join(container)]) {
        let mut text: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let members = match &mut text {
            Value::Array(plan) => plan.iter_mut().collect(),
            result => vec![result],
        };
        for member in members {
            let object = member.as_object_mut().unwrap();
            object.retain(|key, _| !matches!(key.as_str(), "sha256" | "cnidaria"));
        }
        std::fs::write(path, text.to_string()).unwrap();
    }
}

#[tokio::test]
async fn pods_without_a_recorded_name_are_the_usual() {
    let node = Node::new();
    let daemon = node.daemon().await;
    let (kubelet, podman) = (node.runtime(USUAL, "l"), node.runtime("pods", "l"));
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    as_of_multus(&node.path("l"), "cid-a");
    let log = podman.gc(&daemon, &[]).await;
    assert!(deletions(&log).is_empty(), "it lives: {log:?}");
    assert_eq!(given(&log), ["cid-a/eth0 cid-a/net1"]);
    let log = kubelet.gc(&daemon, &[]).await;
    assert_eq!(deletions(&log), ["del one", "del default"]);
}

#[tokio::test]
async fn a_confs_own_directory_survives_restarts() {
    let node = Node::new();
    let runtime = node.runtime(USUAL, "further");
    let daemon = node.daemon().await;
    runtime.call(&daemon, "ADD", "a").await.unwrap();
    assert_eq!(
        daemon.directories(),
        [node.path("own"), node.path("further")]
    );
    node.world.fail("del one");
    runtime.call(&daemon, "DEL", "a").await.unwrap_err();
    // A crash and the next daemon.
    let daemon = node.daemon().await;
    assert_eq!(
        daemon.directories(),
        [node.path("own"), node.path("further")]
    );
    assert_eq!(daemon.undos(&node.path("further")).len(), 1);
    node.world.mend();
    runtime.call(&daemon, "DEL", "a").await.unwrap();
    assert!(daemon.undos(&node.path("further")).is_empty());
    // Nothing is left in it.
    assert_eq!(node.daemon().await.directories(), [node.path("own")]);
}

#[tokio::test]
async fn it_is_undone_there_after_a_reboot() {
    let node = Node::new();
    let runtime = node.runtime(USUAL, "further");
    runtime
        .call(&node.daemon().await, "ADD", "a")
        .await
        .unwrap();
    "another".clone_into(&mut node.world.boot.lock().unwrap());
    let daemon = node.daemon().await;
    let plan = node.path("further/cid-a");
    node.works_until(&daemon, || !plan.exists()).await;
}

#[tokio::test]
async fn an_older_daemons_directory_is_found_by_a_del() {
    let node = Node::new();
    let runtime = node.runtime(USUAL, "further");
    let daemon = node.daemon().await;
    for pod in ["a", "b"] {
        runtime.call(&daemon, "ADD", pod).await.unwrap();
    }
    node.world.fail("del two");
    runtime.call(&daemon, "DEL", "b").await.unwrap_err();
    node.forget_directories();
    let daemon = node.daemon().await;
    assert_eq!(daemon.directories(), [node.path("own")]);
    runtime.call(&daemon, "DEL", "a").await.unwrap();
    assert_eq!(daemon.undos(&node.path("further")).len(), 1, "of b");
    // A request that makes nothing does not bring a directory into use.
    let other = node.runtime(USUAL, "empty");
    other.call(&daemon, "DEL", "a").await.unwrap();
    assert_eq!(
        daemon.directories(),
        [node.path("own"), node.path("further")]
    );
    assert!(!node.path("empty").exists());
}

#[tokio::test]
async fn a_recorded_del_of_another_directory_is_found() {
    let node = Node::new();
    let (old, new) = (node.runtime(USUAL, "old"), node.runtime(USUAL, "new"));
    let daemon = node.daemon().await;
    old.call(&daemon, "ADD", "a").await.unwrap();
    new.call(&daemon, "ADD", "b").await.unwrap();
    let record = Record::of(new.request("DEL", "a")).to_json();
    std::fs::create_dir(node.path("new/.deferred")).unwrap();
    std::fs::write(node.path("new/.deferred/cid-a"), record).unwrap();
    let daemon = node.daemon().await;
    daemon.finish_deferred(&node.path("new"), false).await;
    assert!(!node.path("old/cid-a").exists());
    assert!(!node.path("new/.deferred/cid-a").exists());
    assert!(node.path("new/cid-b").exists());
}

#[tokio::test]
async fn a_del_of_another_name_finds_no_other_pod() {
    let node = Node::new();
    let (kubelet, podman) = (node.runtime(USUAL, "l"), node.runtime("pods", "other"));
    let daemon = node.daemon().await;
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    podman.call(&daemon, "ADD", "b").await.unwrap();
    let mut request = podman.request("DEL", "a");
    request
        .env
        .insert("CNI_NETNS".into(), "/run/netns/apart".into());
    node.world.apart("/run/netns/apart");
    daemon.handle(&request.to_json()).await.unwrap();
    assert!(node.path("l/cid-a").exists());
    kubelet.call(&daemon, "CHECK", "a").await.unwrap();
}

#[tokio::test]
async fn a_del_at_a_wrong_path_enters_that_of_the_add() {
    let node = Node::new();
    let kubelet = node.runtime(USUAL, "l");
    let daemon = node.daemon().await;
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    let mut request = kubelet.request("DEL", "a");
    let of_add = request
        .env
        .insert("CNI_NETNS".into(), "/run/netns/wrong".into());
    node.world.fail("nothing at /run/netns/wrong");
    daemon.handle(&request.to_json()).await.unwrap();
    assert_eq!(*node.world.entered.lock().unwrap(), of_add);
    assert!(!node.path("l/cid-a").exists());
}

#[tokio::test]
async fn a_del_from_another_namespace_spares_a_pod() {
    let node = Node::new();
    let kubelet = node.runtime(USUAL, "l");
    let daemon = node.daemon().await;
    kubelet.call(&daemon, "ADD", "a").await.unwrap();
    // A recorded DEL needs an existing path.
    let path = node.path("apart").display().to_string();
    std::fs::write(&path, "").unwrap();
    node.world.apart(&path);
    let apart = |command: &str| {
        let mut request = kubelet.request(command, "a");
        request.env.insert("CNI_NETNS".into(), path.clone());
        request
    };
    // Another sandbox with the same id: its ADD is refused, and the runtime deletes it.
    daemon.handle(&apart("ADD").to_json()).await.unwrap_err();
    node.log();
    daemon.handle(&apart("DEL").to_json()).await.unwrap();
    let record = Record::of(apart("DEL")).to_json();
    std::fs::create_dir_all(node.path("l/.deferred")).unwrap();
    std::fs::write(node.path("l/.deferred/cid-a"), record).unwrap();
    daemon.finish_deferred(&node.path("l"), false).await;
    assert!(deletions(&node.log()).is_empty());
    assert!(!node.path("l/.deferred/cid-a").exists());
    kubelet.call(&daemon, "CHECK", "a").await.unwrap();

    for netns in [Some("/run/netns/a"), Some(""), None] {
        let mut request = kubelet.request("DEL", "a");
        request.env.remove("CNI_NETNS");
        let path = netns.map(|path| ("CNI_NETNS".to_owned(), path.to_owned()));
        request.env.extend(path);
        daemon.handle(&request.to_json()).await.unwrap();
        assert_eq!(deletions(&node.log()), ["del one", "del default"]);
        assert!(!node.path("l/cid-a").exists(), "{netns:?}");
        kubelet.call(&daemon, "ADD", "a").await.unwrap();
    }
    // Once the pod's own namespace is gone, the DEL is as good as any.
    node.world.fail("nothing at /run/netns/a");
    node.log();
    daemon.handle(&apart("DEL").to_json()).await.unwrap();
    assert_eq!(deletions(&node.log()), ["del one", "del default"]);
}

/// The other namespace is gone by the time the DEL is carried out.
#[tokio::test]
async fn a_late_del_of_another_namespace_spares_a_pod() {
    for (named, lives, is_spared) in [
        ("apart", true, true),
        ("apart", false, false),
        // The fakes' file of the pod's own namespace.
        ("/", true, false),
    ] {
        for is_planned in [true, false] {
            let node = Node::new();
            *node.world.boot.lock().unwrap() = boot_id();
            let runtime = node.runtime(USUAL, "l");
            let daemon = node.daemon().await;
            runtime.call(&daemon, "ADD", "a").await.unwrap();
            if !is_planned {
                std::fs::remove_file(node.path("l/cid-a")).unwrap();
            }
            let netns = node.path(named);
            let mut request = runtime.request("DEL", "a");
            let path = netns.display().to_string();
            request.env.insert("CNI_NETNS".into(), path.clone());
            if named == "apart" {
                std::fs::write(&netns, "").unwrap();
            }
            let record = Record::of(request).to_json();
            if named == "apart" {
                std::fs::remove_file(&netns).unwrap();
            }
            node.world.fail(&format!("nothing at {path}"));
            if !lives {
                node.world.fail("nothing at /run/netns/a");
            }
            std::fs::create_dir_all(node.path("l/.deferred")).unwrap();
            std::fs::write(node.path("l/.deferred/cid-a"), record).unwrap();
            node.log();
            daemon.finish_deferred(&node.path("l"), false).await;
            let what = format!("{named}, {lives}, {is_planned}");
            assert_eq!(deletions(&node.log()).is_empty(), is_spared, "{what}");
            assert!(!node.path("l/.deferred/cid-a").exists(), "{what}");
        }
    }
}

#[tokio::test]
async fn results_alone_spare_a_pod_as_well() {
    let node = Node::new();
    let runtime = node.runtime(USUAL, "l");
    let daemon = node.daemon().await;
    runtime.call(&daemon, "ADD", "a").await.unwrap();
    std::fs::remove_file(node.path("l/cid-a")).unwrap();
    let path = node.path("apart").display().to_string();
    node.world.apart(&path);
    let mut request = runtime.request("DEL", "a");
    request.env.insert("CNI_NETNS".into(), path);
    node.log();
    daemon.handle(&request.to_json()).await.unwrap();
    assert!(deletions(&node.log()).is_empty());
    runtime.call(&daemon, "DEL", "a").await.unwrap();
    assert_eq!(deletions(&node.log()), ["del one", "del default"]);
}

#[tokio::test]
async fn a_hot_plug_follows_its_pods_directory() {
    let node = Node::new();
    let runtime = node.runtime(USUAL, "further");
    let daemon = node.daemon().await;
    runtime.call(&daemon, "ADD", "a").await.unwrap();
    plug(&daemon, "ADD", "a").await;
    let daemon = node.daemon().await;
    plug(&daemon, "CHECK", "a").await;
    node.log();
    runtime.call(&daemon, "DEL", "a").await.unwrap();
    assert_eq!(
        deletions(&node.log()),
        ["del hot", "del one", "del default"]
    );
    assert!(!node.path("further/cid-a").exists());
}

#[tokio::test]
async fn directories_of_confs_are_bounded() {
    let node = Node::new();
    let daemon = node.daemon().await;
    let names: Vec<String> = (0..40).map(|number| format!("dir-{number}")).collect();
    let mut refused = 0;
    for name in &names {
        let runtime = node.runtime(USUAL, name);
        match runtime.call(&daemon, "ADD", "a").await {
            Ok(()) => assert_eq!(refused, 0),
            Err(error) => {
                let error = cnidaria_core::report::chain(&error);
                assert!(error.contains("other directories"), "{error}");
                assert!(!node.path(name).exists());
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    // Room comes with the first directory that is not needed any more.
    let first = node.runtime(USUAL, &names[0]);
    first.call(&daemon, "DEL", "a").await.unwrap();
    let last = node.runtime(USUAL, &names[39]);
    last.call(&daemon, "ADD", "a").await.unwrap();
}

#[tokio::test]
async fn a_renamed_conf_collects_what_is_gone() {
    let node = Node::new();
    let (old, new) = (node.runtime(USUAL, "l"), node.runtime("renamed", "l"));
    let daemon = node.daemon().await;
    old.call(&daemon, "ADD", "a").await.unwrap();
    node.world.fail("netns gone");
    let log = new.gc(&daemon, &[]).await;
    assert_eq!(deletions(&log), ["del one", "del default"]);
}

#[tokio::test]
async fn an_add_ends_its_ids_undo_in_any_directory() {
    for is_mended in [true, false] {
        let node = Node::new();
        let (old, new) = (node.runtime(USUAL, "l"), node.runtime(USUAL, "m"));
        let daemon = node.daemon().await;
        old.call(&daemon, "ADD", "a").await.unwrap();
        node.world.fail("netns gone");
        node.world.fail("del default");
        old.call(&daemon, "DEL", "a").await.unwrap();
        assert_eq!(daemon.undos(&node.path("l")).len(), 1);
        node.world.mend();
        if !is_mended {
            node.world.fail("del default");
        }
        *node.world.namespaces.lock().unwrap() += 1;
        node.log();
        new.call(&daemon, "ADD", "a").await.unwrap();
        let log = node.log();
        let (undone, added) = (at(&log, "del default"), at(&log, "add default"));
        assert!(undone.is_some() && undone < added, "{log:?}");
        assert!(daemon.undos(&node.path("l")).is_empty());
        assert!(!node.path("l/cid-a").exists());
        let results = std::fs::read_dir(node.path("l/results")).unwrap();
        assert_eq!(results.count(), 0, "mended: {is_mended}");
    }
}

fn at(log: &[String], what: &str) -> Option<usize> {
    log.iter().position(|done| done == what)
}

#[tokio::test]
async fn no_undo_takes_what_lives_in_another_directory() {
    let node = Node::new();
    let (old, new) = (node.runtime(USUAL, "l"), node.runtime(USUAL, "m"));
    old.call(&node.daemon().await, "ADD", "a").await.unwrap();
    node.forget_directories();
    // This daemon does not know the first directory yet.
    let daemon = node.daemon().await;
    *node.world.namespaces.lock().unwrap() += 1;
    new.call(&daemon, "ADD", "a").await.unwrap();
    let log = old.gc(&daemon, &["b"]).await;
    assert!(deletions(&log).is_empty(), "{log:?}");
    assert!(!node.path("l/cid-a").exists());
    new.call(&daemon, "CHECK", "a").await.unwrap();
}

#[tokio::test]
async fn a_pod_is_found_by_its_namespace() {
    // The conf got another name and another directory.
    for is_gone in [false, true] {
        let node = Node::new();
        let (old, new) = (node.runtime(USUAL, "old"), node.runtime("renamed", "new"));
        let daemon = node.daemon().await;
        old.call(&daemon, "ADD", "a").await.unwrap();
        match is_gone {
            true => node.world.fail("netns gone"),
            false => new.call(&daemon, "CHECK", "a").await.unwrap(),
        }
        node.log();
        new.call(&daemon, "DEL", "a").await.unwrap();
        assert_eq!(deletions(&node.log()), ["del one", "del default"]);
        assert!(!node.path("old/cid-a").exists());
    }
}

#[tokio::test]
async fn gc_collects_what_is_gone_in_any_directory() {
    let node = Node::new();
    let (old, new) = (node.runtime(USUAL, "old"), node.runtime("renamed", "new"));
    let daemon = node.daemon().await;
    old.call(&daemon, "ADD", "a").await.unwrap();
    let log = new.gc(&daemon, &["b"]).await;
    assert!(deletions(&log).is_empty(), "it lives: {log:?}");
    node.world.fail("netns gone");
    new.gc(&daemon, &["b"]).await;
    assert!(!node.path("old/cid-a").exists());
}
