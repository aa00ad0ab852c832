//! Two runtimes on one node, and a `cniDir` that only the conf names, on real plugins.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;

use node::case::on_a_private_node;
use node::inspect;
use node::{Node, Pod, Sandbox, networks, run};
use serde_json::{Value, json};

fn succeed(node: &Node, command: &str, pod: &Sandbox, conf: &Value) {
    let call = node.call(command, pod).unwrap().stdin(conf.to_string());
    let answer = call.make().unwrap();
    assert!(answer.succeeded(), "{command}: {answer:#?}\n{}", node.log());
}

/// A GC with this conf of a runtime that knows `pods`.
fn gc(node: &Node, conf: &Value, pods: &[&Sandbox]) {
    let valid = pods
        .iter()
        .map(|pod| json!({ "containerID": pod.container_id, "ifname": "eth0" }));
    let mut conf = conf.clone();
    conf["cniVersion"] = json!("1.1.0");
    conf["cni.dev/valid-attachments"] = valid.collect();
    let any = Sandbox {
        container_id: "none".to_owned(),
        netns_name: "none".to_owned(),
        pod: Pod::new("default", "none"),
    };
    succeed(node, "GC", &any, &conf);
}

/// How many addresses host-local has allocated.
fn addresses(node: &Node) -> usize {
    let files = inspect::files(&node.path("ipam")).unwrap();
    let names = files.keys().filter_map(|path| path.file_name()?.to_str());
    names
        .filter(|name| name.contains(['.', ':']) && !name.starts_with("last_"))
        .count()
}

#[test]
fn gc_keeps_the_pods_of_another_runtime() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let kubelet = node.conf.clone();
        let mut podman = node.conf.clone();
        podman["name"] = json!("pods");
        let of = |name| {
            node.add_pod(Pod::new("default", name).networks("blue"))
                .unwrap()
        };
        let (a, b) = (of("a"), of("b"));
        let clean = addresses(node);
        succeed(node, "ADD", &a, &kubelet);
        let one = addresses(node) - clean;
        succeed(node, "ADD", &b, &podman);
        for (conf, known) in [(&kubelet, &a), (&podman, &b)] {
            gc(node, conf, &[known]);
            succeed(node, "CHECK", &a, &kubelet);
            succeed(node, "CHECK", &b, &podman);
            assert_eq!(addresses(node), clean + 2 * one);
        }
        gc(node, &podman, &[]);
        succeed(node, "CHECK", &a, &kubelet);
        assert_eq!(addresses(node), clean + one);
        gc(node, &kubelet, &[]);
        assert_eq!(addresses(node), clean);
    });
}

#[test]
fn the_confs_own_directory_outlives_daemons() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        // The daemon's own directory is the default one.
        run("mount", &["-t", "tmpfs", "tmpfs", "/var/lib"]).unwrap();
        node.config.as_object_mut().unwrap().remove("cniDir");
        node.start_daemon().unwrap();
        let conf = node.conf.clone();
        let clean = addresses(node);
        let of = |name| node.add_pod(Pod::new("default", name)).unwrap();
        let (a, b) = (of("a"), of("b"));
        for pod in [&a, &b] {
            succeed(node, "ADD", pod, &conf);
        }
        let listed = node.command_line(&["attachments"]).unwrap();
        assert_eq!(listed.matches("eth0").count(), 2, "{listed}");
        // While no daemon is there, the shim records the DEL there.
        node.kill_daemon().unwrap();
        succeed(node, "DEL", &a, &conf);
        run("ip", &["netns", "delete", &a.netns_name]).unwrap();
        assert!(node.path("ledger/.deferred").join(&a.container_id).exists());
        node.start_daemon().unwrap();
        let entry = node.path("ledger").join(&a.container_id);
        node.until("the recorded DEL is carried out", || !entry.exists());
        let forget = ["attachments", "forget", "--yes", b.container_id.as_str()];
        node.command_line(&forget).unwrap();
        assert!(!node.path("ledger").join(&b.container_id).exists());
        assert!(addresses(node) > clean, "forgotten, not undone");
        fs::remove_dir_all(node.path("ipam")).unwrap();
    });
}
