//! Attachments outside any plan: Multus records networks that it hot-plugs in the result cache
//! only.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails here says where"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::pipeline::Pipeline;
use cnidaria_core::report::chain;
use daemon::adapters::ledger::Files;
use daemon::config::own::Durability;
use serde_json::{Value, json};
use support::{World, body, gc_body};
use tempfile::TempDir;

/// A pipeline on fakes and the real ledger.
struct Rig {
    dir: TempDir,
    world: Arc<World>,
    pipeline: Arc<Pipeline>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new();
        let mut overrides = RawObject::new();
        overrides.set("cniDir", dir.path()).unwrap();
        Self {
            pipeline: world.pipeline_with(Arc::new(Files::new(Durability::Grouped)), overrides),
            dir,
            world,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Adds a pod and removes from its file what Multus would not write.
    async fn add_by_multus(&self, pod: &str) {
        self.world.pod(pod, "one");
        self.pipeline.handle(&body("ADD", pod)).await.unwrap();
        let path = self.path(&format!("cid-{pod}"));
        let mut plan: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for delegate in plan.as_array_mut().unwrap() {
            delegate.as_object_mut().unwrap().remove("cnidaria");
        }
        fs::write(&path, plan.to_string()).unwrap();
        self.world.log();
    }

    /// Writes libcni's cached result of an attachment of `{"name":"<network>","type":"<plugin>"}`.
    fn remember(&self, network: &str, plugin: &str, container: &str, if_name: &str) {
        use base64::Engine as _;
        let conf = json!({ "cniVersion": "1.1.0", "name": network, "type": plugin });
        let config = base64::engine::general_purpose::STANDARD.encode(conf.to_string());
        let cached = json!({
            "kind": "cniCacheV1", "containerId": container, "config": config, "ifName": if_name,
            "networkName": network, "netns": "/run/netns/x", "result": { "cniVersion": "1.1.0" },
        });
        let path = self.path(&format!("results/{network}-{container}-{if_name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, cached.to_string()).unwrap();
    }

    fn results(&self) -> usize {
        fs::read_dir(self.path("results")).unwrap().count()
    }
}

#[tokio::test]
async fn multus_hotplug_is_checked_and_deleted() {
    let rig = Rig::new();
    rig.add_by_multus("a").await;
    rig.remember("plugged", "t", "cid-a", "net7");
    rig.pipeline.handle(&body("CHECK", "a")).await.unwrap();
    assert!(rig.world.log().contains(&"check plugged".to_owned()));
    rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(
        rig.world.log(),
        ["del plugged", "del one", "del default"],
        "the last one first"
    );
    assert_eq!(rig.results(), 0);
}

#[tokio::test]
async fn damaged_multus_hotplug_result_is_an_error() {
    let rig = Rig::new();
    rig.add_by_multus("a").await;
    rig.remember("plugged", "t", "cid-a", "net7");
    let damaged = rig.path("results/plugged-cid-a-net7");
    fs::write(&damaged, "{").unwrap();
    // The runtime's libcni has a file for an interface that the plan lists.
    fs::write(rig.path("results/multus-cni-network-cid-a-eth0"), "{").unwrap();

    for verb in ["CHECK", "DEL"] {
        let error = rig.pipeline.handle(&body(verb, "a")).await.unwrap_err();
        let error = chain(&error);
        assert!(error.contains("interface net7 of network"), "{error}");
        assert!(error.contains(damaged.to_str().unwrap()), "{error}");
        assert!(!error.contains("eth0"), "{error}");
    }
    assert_eq!(rig.world.log(), ["pod a", "del one", "del default"]);
    let listing = rig.pipeline.entries(rig.dir.path()).await.unwrap();
    assert_eq!(listing.unreadable.len(), 1, "{listing:?}");
    // To GC, it is in use.
    rig.world.log();
    let gc = gc_body(Some("cid-a"));
    rig.pipeline.handle(&gc).await.unwrap();
    let in_use = "valid cid-a/eth0 cid-a/net1 cid-a/net7".to_owned();
    assert!(rig.world.log().contains(&in_use));
    assert!(damaged.exists() && rig.path("cid-a").exists());

    // An operator has released the interface and its addresses.
    fs::remove_file(&damaged).unwrap();
    rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(!rig.path("cid-a").exists());
}

#[tokio::test]
async fn damaged_result_is_recovered_from_the_pod() {
    let rig = Rig::new();
    rig.add_by_multus("a").await;
    rig.world.pod("a", "one,two");
    rig.remember("two", "t", "cid-a", "net2");
    fs::write(rig.path("results/two-cid-a-net2"), "{").unwrap();
    rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
    let log = rig.world.log();
    assert_eq!(log, ["pod a", "del two", "del one", "del default"]);
    assert!(!rig.path("cid-a").exists());
    assert_eq!(rig.results(), 0);
    assert_eq!(fs::read_dir(rig.path(".damaged")).unwrap().count(), 1);
}

#[tokio::test]
async fn gc_keeps_multus_attachments_of_live_pods() {
    let rig = Rig::new();
    rig.add_by_multus("a").await;
    rig.remember("plugged", "t", "cid-a", "net7");
    for valid in [None, Some("cid-a")] {
        rig.pipeline.handle(&gc_body(valid)).await.unwrap();
        let log = rig.world.log();
        assert!(!log.iter().any(|done| done.starts_with("del")), "{log:?}");
        for network in ["gc default", "gc one", "gc plugged"] {
            assert!(log.iter().any(|done| done == network), "{log:?}");
        }
        let told = "valid cid-a/eth0 cid-a/net1 cid-a/net7";
        let told = log.iter().filter(|done| *done == told).count();
        assert_eq!(told, 3, "{log:?}");
    }
}

#[tokio::test]
async fn gc_undoes_results_of_gone_containers() {
    let rig = Rig::new();
    rig.remember("lost", "t", "cid-gone", "net1");
    let gc = gc_body(Some("cid-a"));
    rig.pipeline.handle(&gc).await.unwrap();
    assert_eq!(rig.results(), 1, "its namespace lives");
    rig.world.fail("netns gone");
    rig.world.fail("del lost");
    rig.pipeline.handle(&gc).await.unwrap();
    assert_eq!(rig.results(), 1, "to be tried again");
    rig.world.mend();
    rig.world.fail("netns gone");
    rig.pipeline.handle(&gc).await.unwrap();
    assert!(rig.world.log().contains(&"del lost".to_owned()));
    assert_eq!(rig.results(), 0);
}

#[tokio::test]
async fn runtimes_own_shim_results_are_not_undone() {
    let rig = Rig::new();
    rig.add_by_multus("a").await;
    for plugin in ["multus-shim", "multus", "cnidaria-shim"] {
        rig.remember("multus-cni-network", plugin, "cid-a", "eth0");
        rig.remember("multus-cni-network", plugin, "cid-gone", "eth0");
        rig.pipeline.handle(&gc_body(Some("cid-a"))).await.unwrap();
        let log = rig.world.log();
        assert!(!log.iter().any(|done| done.contains("multus")), "{log:?}");
    }
    rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(rig.world.log(), ["del one", "del default"]);
}

/// A DEL or ADD of pod `a` for an interface.
fn body_for(command: &str, if_name: &str) -> Vec<u8> {
    let mut request = shim_api::Request::parse(&body(command, "a")).unwrap();
    request.env.insert("CNI_IFNAME".into(), if_name.into());
    request.to_json()
}

fn deletions(rig: &Rig) -> Vec<String> {
    let mut log = rig.world.log();
    log.retain(|done| done.starts_with("del "));
    log
}

#[tokio::test]
async fn a_del_of_another_interface_spares_the_rest() {
    for damage in [
        "file lost",
        "file empty",
        "both lost",
        "both empty",
        "by Multus",
    ] {
        let rig = Rig::new();
        rig.add_by_multus("a").await;
        if damage != "by Multus" {
            rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
            rig.pipeline.handle(&body("ADD", "a")).await.unwrap();
        }
        let (plan, results) = (rig.path("cid-a"), rig.path("results"));
        match damage {
            "file empty" | "both empty" => fs::write(&plan, "").unwrap(),
            "file lost" | "both lost" => fs::remove_file(&plan).unwrap(),
            _ => {}
        }
        if damage.starts_with("both") {
            for file in fs::read_dir(&results).unwrap() {
                let path = file.unwrap().path();
                match damage {
                    "both lost" => fs::remove_file(path).unwrap(),
                    _ => fs::write(path, "").unwrap(),
                }
            }
        }
        rig.world.log();
        rig.pipeline.handle(&body_for("DEL", "eth1")).await.unwrap();
        let log = deletions(&rig);
        assert!(!log.contains(&"del one".to_owned()), "{damage}: {log:?}");
        assert!(
            damage.starts_with("both") || log.is_empty(),
            "{damage}: {log:?}"
        );
        rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
        assert_eq!(deletions(&rig), ["del one", "del default"], "{damage}");
    }
}

#[tokio::test]
async fn a_second_add_of_a_damaged_pod_is_refused() {
    for is_of_multus in [false, true] {
        let rig = Rig::new();
        rig.add_by_multus("a").await;
        if !is_of_multus {
            fs::write(rig.path("cid-a"), "").unwrap();
        }
        fs::remove_dir_all(rig.path("results")).unwrap();
        rig.world.fail("exists eth0");
        rig.pipeline.handle(&body("ADD", "a")).await.unwrap_err();
        assert!(deletions(&rig).is_empty(), "of Multus: {is_of_multus}");
        assert!(rig.path("cid-a").exists());
    }
}

#[tokio::test]
async fn without_results_a_plan_of_multus_is_of_eth0() {
    for other in ["eth1", "net1"] {
        let rig = Rig::new();
        rig.add_by_multus("a").await;
        fs::remove_dir_all(rig.path("results")).unwrap();
        rig.pipeline.handle(&body_for("DEL", other)).await.unwrap();
        assert!(deletions(&rig).is_empty(), "{other}");
        rig.pipeline.handle(&body("DEL", "a")).await.unwrap();
        assert_eq!(deletions(&rig), ["del one", "del default"], "{other}");
    }
}
