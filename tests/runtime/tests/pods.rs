//! Shim and daemon attach containerd's pods to their networks.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;

use node::case::on_a_private_node;
use node::inspect::{self, Link};
use node::mistakes::{self, Mistake};
use node::{Node, Pod, Sandbox, networks};
use runtime::containerd::{self, Containerd};
use runtime::cri::Client;
use serde_json::json;

/// State that must be unchanged once all pods are gone.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    links: Vec<String>,
    addresses: Vec<String>,
    ledger: Vec<String>,
    namespaces: usize,
    mounts: Vec<String>,
    processes: Vec<String>,
}

impl Traces {
    fn of(node: &Node) -> Self {
        let names = |links: Vec<Link>| links.into_iter().filter(|link| link.kind != "bridge");
        let ledger = inspect::files(&node.path("ledger")).unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        Self {
            links: names(inspect::links(None).unwrap())
                .map(|link| link.name)
                .collect(),
            addresses: inspect::reserved_addresses(node).unwrap(),
            ledger: ledger
                .into_keys()
                .map(|path| path.display().to_string())
                .collect(),
            namespaces: fs::read_dir("/run/netns").map_or(0, Iterator::count),
            // containerd makes the namespace directory a shared mount, once.
            mounts: mounts
                .lines()
                .filter(|mount| !mount.contains(" /run/netns "))
                .map(str::to_owned)
                .collect(),
            processes: processes(),
        }
    }
}

/// Names of the processes on the node, without zombies.
fn processes() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| {
            let command = fs::read_to_string(process.path().join("cmdline")).ok()?;
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            let number = process.file_name().to_string_lossy().parse::<u32>();
            (number.is_ok() && !command.is_empty()).then(|| name.trim().to_owned())
        })
        .collect();
    names.sort();
    names
}

fn containerd(node: &mut Node) -> Option<Containerd> {
    if !containerd::is_possible() {
        eprintln!("left out: runc needs to be root of this machine, not of a user namespace");
        return None;
    }
    networks::prepare(node).unwrap();
    node.start_daemon().unwrap();
    match Containerd::start(node) {
        Ok(containerd) => Some(containerd),
        Err(error) => unreachable!("{error} {:?}", std::error::Error::source(&error)),
    }
}

fn pod(node: &Node, name: &str, networks: &str) -> Pod {
    let pod = Pod::new("default", name).networks(networks);
    let manifest = format!("manifests/pod-{name}.json");
    node.write(&manifest, pod.manifest().to_string()).unwrap();
    pod
}

/// The name of a running sandbox's namespace.
fn netns(client: &Client, sandbox: &str) -> String {
    let netns = client.status(sandbox).unwrap().netns;
    netns.file_name().unwrap().to_str().unwrap().to_owned()
}

/// An interface's address, without its prefix length.
fn address(netns: &str, name: &str) -> String {
    let links = inspect::links(Some(netns)).unwrap();
    let link = links.iter().find(|link| link.name == name);
    let address = link.and_then(|link| link.addresses.first()).unwrap();
    address.split('/').next().unwrap().to_owned()
}

#[test]
fn containerd_pods_connect_over_both_networks() {
    on_a_private_node(|node| {
        let Some(containerd) = containerd(node) else {
            return;
        };
        let client = containerd.client();
        let before = Traces::of(node);
        let pods = ["a", "b"].map(|name| pod(node, name, "blue"));
        let sandboxes = pods.each_ref().map(|pod| client.run(pod).unwrap());
        let [here, there] = sandboxes.each_ref().map(|sandbox| netns(client, sandbox));
        for link in ["eth0", "net1"] {
            inspect::ping(&here, link, &address(&there, link)).unwrap();
        }
        for (pod, sandbox) in pods.iter().zip(&sandboxes) {
            let status = node.network_status(pod).unwrap();
            let ip = client.status(sandbox).unwrap().ip;
            assert_eq!(status[0]["ips"], json!([ip]), "{status:#}");
            assert_eq!(status[1]["name"], json!("default/blue"), "{status:#}");
        }
        for sandbox in &sandboxes {
            client.stop(sandbox).unwrap();
            // The kubelet repeats StopPodSandbox.
            client.stop(sandbox).unwrap();
            client.remove(sandbox).unwrap();
        }
        assert_eq!(Traces::of(node), before, "{}", containerd.log());
    });
}

#[test]
fn failed_network_blocks_pod_and_leaves_nothing() {
    on_a_private_node(|node| {
        let Some(containerd) = containerd(node) else {
            return;
        };
        let client = containerd.client();
        let before = Traces::of(node);
        let error = json!({ "cniVersion": "1.0.0", "code": 123, "msg": "no cable" });
        let conf = networks::fake("broken", &json!({ "ADD": { "error": error } }));
        node.add_network("default", "broken", &conf).unwrap();
        let refused = client.run(&pod(node, "a", "blue,broken")).unwrap_err();
        assert!(refused.to_string().contains("no cable"), "{refused}");
        assert_eq!(Traces::of(node), before, "{}", containerd.log());
    });
}

/// Three of the mistakes: rejected on ADD and on DEL, alone and after another plugin.
fn mistakes(node: &Node) -> Vec<Mistake> {
    let names = ["mtu-as-text", "device-missing", "tuning"];
    let mut mistakes = mistakes::all(node);
    mistakes.retain(|mistake| names.contains(&mistake.name));
    assert_eq!(mistakes.len(), names.len());
    mistakes
}

#[test]
fn a_mistake_holds_no_sandbox() {
    on_a_private_node(|node| {
        let Some(containerd) = containerd(node) else {
            return;
        };
        let client = containerd.client();
        let before = Traces::of(node);
        for mistake in mistakes(node) {
            let name = mistake.name;
            node.add_network("default", name, &mistake.conf).unwrap();
            let refused = client.run(&pod(node, name, name)).unwrap_err();
            assert!(refused.to_string().contains(mistake.says), "{refused}");
            // containerd keeps a sandbox whose networks it could not detach.
            assert_eq!(client.list().unwrap(), [""; 0], "{name}");
            assert_eq!(Traces::of(node), before, "{name} {}", containerd.log());
        }
    });
}

#[test]
fn a_mistake_hot_plugged_holds_no_sandbox() {
    on_a_private_node(|node| {
        let Some(containerd) = containerd(node) else {
            return;
        };
        let client = containerd.client();
        let before = Traces::of(node);
        let pod = pod(node, "a", "blue");
        let id = client.run(&pod).unwrap();
        let sandbox = Sandbox {
            netns_name: netns(client, &id),
            container_id: id.clone(),
            pod,
        };
        for mistake in mistakes(node) {
            let plugged = node.plug("ADD", &sandbox, "hot0", &mistake.conf);
            let (_, said) = plugged.unwrap();
            assert!(said.contains(mistake.says), "{said}");
        }
        client.stop(&id).unwrap();
        client.remove(&id).unwrap();
        assert_eq!(Traces::of(node), before, "{}", containerd.log());
    });
}

#[test]
fn pod_stopped_without_daemon_is_freed_later() {
    on_a_private_node(|node| {
        let Some(containerd) = containerd(node) else {
            return;
        };
        let client = containerd.client();
        let before = Traces::of(node);
        let sandbox = client.run(&pod(node, "a", "blue")).unwrap();
        node.kill_daemon().unwrap();
        client.stop(&sandbox).unwrap();
        client.remove(&sandbox).unwrap();
        assert_ne!(
            Traces::of(node),
            before,
            "the daemon was down and freed no addresses"
        );
        node.start_daemon().unwrap();
        node.until("the recorded DEL is carried out", || {
            Traces::of(node) == before
        });
    });
}
