//! The traffic of pods' secondary interfaces in the metrics, counted by the kernel in real namespaces.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing fails the test, in its helpers too"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use node::case::on_a_private_node;
use node::{Node, Pod, Sandbox, inspect, networks};
use serde_json::json;

const PORT: u16 = 29_091;

fn start(node: &mut Node) -> Sandbox {
    networks::prepare(node).unwrap();
    node.config["metricsPort"] = json!(PORT);
    node.config["cnidaria"]["podInterfaceMetrics"] = json!(true);
    node.start_daemon().unwrap();
    let pod = Pod::new("default", "a").networks("blue,storage");
    let pod = node.add_pod(pod).unwrap();
    node.succeed("ADD", &pod);
    pod
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// The lines about pods' interfaces in the metrics.
fn scrape() -> Vec<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text.lines()
        .filter(|line| line.starts_with("cnidaria_pod_interface"))
        .map(str::to_owned)
        .collect()
}

/// A counter of the pod's interface in a scrape.
fn count(scrape: &[String], what: &str, interface: &str, network: &str) -> u64 {
    let start = format!(
        "cnidaria_pod_interface_{what}_total{{pod=\"a\",namespace=\"default\",interface=\"{interface}\",network_name=\"{network}\"}} "
    );
    let value = scrape.iter().find_map(|line| line.strip_prefix(&start));
    let value = value.unwrap_or_else(|| panic!("{start}\n{}", scrape.join("\n")));
    value.parse().unwrap()
}

fn counters_move(node: &mut Node, root: Option<&str>) {
    if let Some(root) = root {
        node.config["chrootDir"] = json!(root);
    }
    let pod = start(node);
    let before = scrape();
    const PINGS: u64 = 3;
    for _ in 0..PINGS {
        inspect::ping(&pod.netns_name, "net1", "10.78.0.1").unwrap();
    }
    let after = scrape();
    for (what, least) in [
        ("receive_packets", PINGS),
        ("transmit_packets", PINGS),
        ("receive_bytes", PINGS * 84),
        ("transmit_bytes", PINGS * 84),
    ] {
        let [before, after] =
            [&before, &after].map(|scrape| count(scrape, what, "net1", "default/blue"));
        assert!(after - before >= least, "{what}: {before} {after}");
    }
    for what in ["receive_errors", "transmit_errors"] {
        assert_eq!(count(&after, what, "net1", "default/blue"), 0);
    }
    count(&after, "receive_dropped", "net2", "default/storage");
    let text = after.join("\n");
    assert!(!text.contains("eth0"), "the default network's: {text}");
    node.succeed("DEL", &pod);
    assert_eq!(scrape(), Vec::<String>::new());
}

#[test]
fn counters_move_with_traffic() {
    on_a_private_node(|node| counters_move(node, None));
}

#[test]
fn counters_are_read_below_another_root() {
    on_a_private_node(|node| counters_move(node, Some("/")));
}

#[test]
fn another_namespace_at_the_path_is_not_read() {
    on_a_private_node(|node| {
        let pod = start(node);
        let name = pod.netns_name.as_str();
        ip(&["netns", "delete", name]);
        let gone = scrape();
        assert_eq!(
            gone,
            ["cnidaria_pod_interfaces_left_out{reason=\"unreadable\"} 2"]
        );
        ip(&["netns", "add", name]);
        let link = ["link", "add", "net1", "type", "veth", "peer", "net2"];
        ip(&[&["-netns", name], &link[..]].concat());
        assert_eq!(scrape(), gone);
    });
}

#[test]
fn metrics_name_no_pods_by_default() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.config["metricsPort"] = json!(PORT);
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("blue");
        let pod = node.add_pod(pod).unwrap();
        node.succeed("ADD", &pod);
        assert_eq!(scrape(), Vec::<String>::new());
    });
}
