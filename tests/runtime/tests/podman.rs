//! Shim and daemon attach podman's containers to their networks, without a cluster.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;

use node::case::on_a_private_node;
use node::inspect;
use node::{Node, Pod, networks};
use runtime::containerd;
use runtime::podman::Podman;
use serde_json::json;

/// State that must be unchanged once all containers are gone.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    links: Vec<String>,
    addresses: Vec<String>,
    ledger: Vec<String>,
    namespaces: usize,
}

impl Traces {
    fn of(node: &Node) -> Self {
        let links = inspect::links(None).unwrap().into_iter();
        let ledger = inspect::files(&node.path("ledger")).unwrap();
        Self {
            links: links
                .filter(|link| link.kind != "bridge")
                .map(|link| link.name)
                .collect(),
            addresses: inspect::reserved_addresses(node).unwrap(),
            ledger: ledger
                .into_keys()
                .map(|path| path.display().to_string())
                .collect(),
            namespaces: fs::read_dir("/run/netns").map_or(0, Iterator::count),
        }
    }
}

fn podman(node: &mut Node) -> Option<Podman> {
    if !containerd::is_possible() {
        eprintln!("left out: runc needs to be root of this machine, not of a user namespace");
        return None;
    }
    networks::prepare(node).unwrap();
    node.start_daemon().unwrap();
    Some(Podman::on(node).unwrap())
}

/// Adds the manifest of a container that requests the network `blue`.
fn describe(node: &Node, name: &str) -> Pod {
    let pod = Pod::new("default", name).networks("blue");
    let manifest = format!("manifests/{name}.json");
    node.write(&manifest, pod.manifest().to_string()).unwrap();
    pod
}

fn interfaces(podman: &Podman, container: &str) -> Vec<String> {
    let netns = podman.netns(container).unwrap();
    let links = inspect::links(Some(&netns)).unwrap();
    let names = links.into_iter().map(|link| link.name);
    names.filter(|name| name != "lo").collect()
}

fn address(podman: &Podman, container: &str, name: &str) -> String {
    let netns = podman.netns(container).unwrap();
    let links = inspect::links(Some(&netns)).unwrap();
    let link = links.iter().find(|link| link.name == name).unwrap();
    link.addresses[0].split('/').next().unwrap().to_owned()
}

/// A file shown on the podman page, adapted to the node's paths.
fn page(node: &Node, file: &str) -> String {
    const PAGE: &str = include_str!("../../../docs/podman.md");
    let (_, after) = PAGE.split_once(&format!("`{file}`")).unwrap();
    let (_, block) = after.split_once("\n```").unwrap();
    let (_, block) = block.split_once('\n').unwrap();
    let (text, _) = block.split_once("\n```").unwrap();
    let place = |name: &str| node.path(name).display().to_string();
    text.replace("/usr/lib/cni", &node.plugins())
        .replace("/var/lib/cni/multus", &place("ledger"))
        .replace("/etc/cnidaria/manifests", &place("manifests"))
        .replace("/etc/cnidaria", &place("etc"))
}

#[test]
fn the_page_about_podman_works_as_written() {
    on_a_private_node(|node| {
        if !containerd::is_possible() {
            eprintln!("left out: runc needs to be root of this machine, not of a user namespace");
            return;
        }
        for (file, path) in [
            ("/etc/cnidaria/default.conflist", "etc/default.conflist"),
            ("/etc/cnidaria/manifests/web.yaml", "manifests/web.yaml"),
        ] {
            node.write(path, page(node, file)).unwrap();
        }
        node.config = serde_json::from_str(&page(node, "/etc/cnidaria/daemon.json")).unwrap();
        // The default, which the node must know.
        node.config["socketDir"] = json!("/run/multus/");
        let network = page(node, "/etc/cni/net.d/10-pods.conflist");
        let network = serde_json::from_str(&network).unwrap();
        let podman = Podman::with_network(node, &network).unwrap();
        node.start_daemon().unwrap();
        podman.sleep("run", &["--name", "web"]).unwrap();
        assert!(address(&podman, "web", "eth0").starts_with("10.90.0."));
        assert!(address(&podman, "web", "net1").starts_with("10.91.0."));
        let status = node.path("manifests.status/default/web.json");
        assert!(status.exists());
        podman
            .podman(&["rm", "--force", "--time", "0", "web"])
            .unwrap();
        assert!(inspect::files(&node.path("ledger")).unwrap().is_empty());
    });
}

#[test]
fn podman_containers_reach_each_other_on_both() {
    on_a_private_node(|node| {
        let Some(podman) = podman(node) else {
            return;
        };
        let before = Traces::of(node);
        let pods = ["web", "nifty-pasteur"].map(|name| describe(node, name));
        for name in ["web", "Nifty_Pasteur"] {
            podman.sleep("run", &["--name", name]).unwrap();
        }
        let here = podman.netns("web").unwrap();
        for link in ["eth0", "net1"] {
            let there = address(&podman, "Nifty_Pasteur", link);
            inspect::ping(&here, link, &there).unwrap();
        }
        for pod in &pods {
            let status = node.network_status(pod).unwrap();
            assert_eq!(status[1]["name"], "default/blue", "{status:#}");
        }
        let table = node.command_line(&["attachments"]).unwrap();
        assert!(table.contains("nifty-pasteur"), "{table}");
        podman
            .podman(&["rm", "--force", "--time", "0", "web", "Nifty_Pasteur"])
            .unwrap();
        assert_eq!(Traces::of(node), before, "{}", node.log());
    });
}

#[test]
fn a_podman_container_may_have_no_manifest() {
    on_a_private_node(|node| {
        let Some(podman) = podman(node) else {
            return;
        };
        let before = Traces::of(node);
        let plain = podman.sleep("run", &[]).unwrap();
        assert_eq!(interfaces(&podman, &plain), ["eth0"]);
        describe(node, "default");
        let described = podman.sleep("run", &[]).unwrap();
        assert_eq!(interfaces(&podman, &described), ["eth0", "net1"]);
        podman
            .podman(&["rm", "--force", "--time", "0", &plain, &described])
            .unwrap();
        assert_eq!(Traces::of(node), before, "{}", node.log());
    });
}

#[test]
fn a_podman_container_is_found_by_its_id() {
    on_a_private_node(|node| {
        let Some(podman) = podman(node) else {
            return;
        };
        let before = Traces::of(node);
        let id = podman.sleep("create", &[]).unwrap();
        describe(node, &id);
        // Each start is an ADD of the same id.
        for _ in 0..2 {
            podman.podman(&["start", &id]).unwrap();
            assert_eq!(interfaces(&podman, &id), ["eth0", "net1"]);
            podman.podman(&["stop", "--time", "0", &id]).unwrap();
            assert_eq!(Traces::of(node), before, "{}", node.log());
        }
    });
}
