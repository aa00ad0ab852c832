//! `clusterNetwork` naming a conf on the node: the daemon does not ask the API server for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cnidaria_core::pipeline::Pipeline;
use cnidaria_kube::{Kube, Settings};
use daemon::response;
use serde_json::json;

use crate::requests::pipeline;
use crate::rig::{self, NODE, Rig, until_ready};
use crate::support::World;

const LOOKUP: &str = "get network-attachment-definitions";

/// A node with a pod, whose `confDir` has the conf `flat`.
struct Node {
    rig: Rig,
    world: Arc<World>,
    confs: tempfile::TempDir,
    uid: String,
}

impl Node {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let confs = tempfile::tempdir().unwrap();
        let conf = json!({"cniVersion": "1.0.0", "name": "flat", "type": "t"});
        std::fs::write(confs.path().join("flat.conf"), conf.to_string()).unwrap();
        let uid = rig::reference(&rig.api.apply(rig::pod("a", NODE))).uid;
        Self {
            rig,
            world: World::new(),
            confs,
            uid,
        }
    }

    fn pipeline(&self, kube: Kube) -> Arc<Pipeline> {
        pipeline(&self.world, kube)
    }

    fn body(&self, command: &str) -> Vec<u8> {
        body(command, self.confs.path(), &self.uid)
    }

    /// A NAD of the same name, which delegates to a network `far`.
    fn nad(&self) -> serde_json::Value {
        let mut nad = rig::nad("flat");
        nad["metadata"]["namespace"] = json!("kube-system");
        nad["spec"]["config"] = json!(r#"{"cniVersion":"1.0.0","name":"far","type":"t"}"#);
        nad
    }
}

fn body(command: &str, confs: &Path, uid: &str) -> Vec<u8> {
    let args =
        format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_UID={uid}");
    let env = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "cid-a"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", args.as_str()),
    ];
    let conf = json!({
        "cniVersion": "1.1.0", "name": "n", "type": "cnidaria-shim",
        "clusterNetwork": "flat", "confDir": confs,
    });
    shim_api::Request {
        env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        config: conf.to_string().into_bytes(),
        interface_attributes: None,
    }
    .to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_cache_says_what_is_not_there() {
    let node = Node::new().await;
    let pipeline = node.pipeline(node.rig.warm().await);
    for command in ["ADD", "STATUS", "GC", "CHECK", "DEL"] {
        pipeline.handle(&node.body(command)).await.unwrap();
    }
    assert_eq!(node.rig.acts(), ["patch pods/status"]);
    let log = node.world.log();
    for done in ["add flat", "status flat", "gc flat", "del flat"] {
        assert!(log.contains(&done.to_owned()), "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nad_comes_before_a_conf_of_its_name() {
    let node = Node::new().await;
    let pipeline = node.pipeline(node.rig.warm().await);
    node.rig.api.apply(node.nad());
    for command in ["STATUS", "GC"] {
        let done = format!("{} far", command.to_lowercase());
        let seen = async {
            loop {
                pipeline.handle(&node.body(command)).await.unwrap();
                if node.world.log().contains(&done) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(rig::LONG, seen).await.unwrap();
    }
    pipeline.handle(&node.body("ADD")).await.unwrap();
    assert!(node.world.log().contains(&"add far".to_owned()));
    assert!(!node.rig.acts().contains(&LOOKUP.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_gc_take_the_conf_while_it_is_away() {
    let node = Node::new().await;
    let kube = Kube::start(Settings {
        outage_patience: Duration::from_secs(3600),
        ..node.rig.settings()
    });
    until_ready(&kube).await;
    let pipeline = node.pipeline(kube);
    node.rig.api.go_down();
    for command in ["STATUS", "GC"] {
        pipeline.handle(&node.body(command)).await.unwrap();
    }
    let log = node.world.log();
    for done in ["status flat", "gc flat"] {
        assert!(log.contains(&done.to_owned()), "{log:?}");
    }
    let error = pipeline.handle(&node.body("ADD")).await.unwrap_err();
    assert_eq!(response::cni_error(&error).code, 11, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_takes_the_conf_where_it_was_never_there() {
    let node = Node::new().await;
    node.rig.api.go_down();
    let pipeline = node.pipeline(node.rig.start());
    pipeline.handle(&node.body("GC")).await.unwrap();
    assert!(node.world.log().contains(&"gc flat".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_gc_know_a_nad_while_it_is_away() {
    for hangs in [false, true] {
        let node = Node::new().await;
        node.rig.api.apply(node.nad());
        let kube = Kube::start(Settings {
            outage_patience: Duration::from_secs(3600),
            ..node.rig.settings()
        });
        until_ready(&kube).await;
        let pipeline = node.pipeline(kube);
        match hangs {
            true => node.rig.api.set_latency(Duration::from_secs(3600)),
            false => node.rig.api.go_down(),
        }
        node.rig.acts();
        for command in ["STATUS", "GC"] {
            pipeline.handle(&node.body(command)).await.unwrap();
        }
        let log = node.world.log();
        for done in ["status far", "gc far"] {
            assert!(log.contains(&done.to_owned()), "{log:?}");
        }
        assert!(!node.rig.acts().contains(&LOOKUP.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_holds_up_no_conf() {
    let node = Node::new().await;
    let pipeline = node.pipeline(node.rig.warm().await);
    node.rig.api.set_latency(Duration::from_secs(3600));
    for command in ["STATUS", "GC"] {
        pipeline.handle(&node.body(command)).await.unwrap();
    }
    let log = node.world.log();
    for done in ["status flat", "gc flat"] {
        assert!(log.contains(&done.to_owned()), "{log:?}");
    }
    assert!(node.rig.acts().is_empty());
}
