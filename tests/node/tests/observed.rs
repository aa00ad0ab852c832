//! What a running daemon reports about its policies: metrics for node operators, Events for pod
//! owners.

#![allow(
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing fails the test, in its helpers too"
)]

use std::io::{Read, Write};
use std::net::TcpStream;

use node::case::on_a_private_node;
use node::{Node, Pod, Sandbox, networks};
use serde_json::json;

const PORT: u16 = 29_091;

fn pod(node: &Node, name: &str, mtu: &str) -> Sandbox {
    let pod = Pod::new("default", name)
        .networks("blue")
        .annotation("cnidaria.dev/mtu", &format!("blue={mtu}"));
    node.add_pod(pod).unwrap()
}

/// The lines about policies in the daemon's Prometheus metrics.
fn scrape() -> Vec<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text.lines()
        .filter(|line| line.contains("cnidaria_policy_"))
        .map(str::to_owned)
        .collect()
}

/// Policies that edit, deny, fail and report, in separate namespaces where they would interfere.
fn prepare(node: &mut Node) {
    networks::prepare(node).unwrap();
    let mtu = json!({ "settings": { "min": 1300, "max": 1500 } });
    node.add_policy("10-mtu", "annotation-mtu", &mtu).unwrap();
    let report = json!({ "report": ["odd-network", "a-word-of-the-policy"] });
    let tags = json!([{ "tag": ["key", "value"] }]);
    let witness = json!({
        "grants": ["state"], "mode": "audit",
        "settings": { "before-add": [report], "after-add": tags },
    });
    node.add_policy("20-watch", "witness", &witness).unwrap();
    let trap = json!({
        "settings": { "do": "panic" },
        "match": { "namespaces": ["trapped"] },
    });
    node.add_policy("30-trap", "hostile-misbehave", &trap)
        .unwrap();
    node.config["metricsPort"] = json!(PORT);
    node.start_daemon().unwrap();
}

#[test]
fn metrics_count_verdicts_without_pod_labels() {
    on_a_private_node(|node| {
        prepare(node);
        let good = pod(node, "pod-of-a-user", "1337");
        assert!(node.make("ADD", &good).succeeded(), "{}", node.log());
        let denied = pod(node, "pod-denied", "9000");
        assert!(!node.make("ADD", &denied).succeeded());
        let trapped = node.add_pod(Pod::new("trapped", "pod-trapped")).unwrap();
        assert!(!node.make("ADD", &trapped).succeeded());

        let metrics = scrape();
        let value = |name: &str, labels: &[&str]| {
            let found = metrics.iter().find(|line| {
                line.starts_with(&format!("{name}{{")) && labels.iter().all(|l| line.contains(l))
            });
            let text = metrics.join("\n");
            let line = found.unwrap_or_else(|| panic!("{name} {labels:?}\n{text}"));
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse::<f64>().unwrap()
        };
        let by = |policy: &str, hook: &str, verdict: &str, mode: &str| {
            let labels = [
                format!("policy=\"{policy}\""),
                format!("hook=\"{hook}\""),
                format!("verdict=\"{verdict}\""),
                format!("mode=\"{mode}\""),
            ];
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            value("cnidaria_policy_evaluations_total", &labels)
        };
        // Two pods have the default network and one more, which was denied for the second pod; the
        // third pod got only as far as its default network.
        assert_eq!(by("10-mtu", "before-add", "accept", "enforce"), 4.0);
        assert_eq!(by("10-mtu", "before-add", "deny", "enforce"), 1.0);
        assert_eq!(by("20-watch", "before-add", "accept", "audit"), 4.0);
        assert_eq!(by("20-watch", "after-add", "accept", "audit"), 2.0);
        assert_eq!(by("30-trap", "before-add", "failure", "enforce"), 1.0);
        let failures = "cnidaria_policy_failures_total";
        assert_eq!(
            value(failures, &["policy=\"30-trap\"", "class=\"trap\""]),
            1.0
        );
        let edits = "cnidaria_policy_edits_total";
        let labels = ["policy=\"10-mtu\"", "hook=\"before-add\"", "field=\"conf\""];
        assert_eq!(value(edits, &labels), 1.0);
        let labels = [
            "policy=\"20-watch\"",
            "hook=\"after-add\"",
            "field=\"tags\"",
        ];
        assert_eq!(value(edits, &labels), 2.0);

        let labels = ["policy=\"10-mtu\"", "hook=\"before-add\""];
        assert_eq!(value("cnidaria_policy_seconds_count", &labels), 5.0);
        let slowest = ["policy=\"10-mtu\"", "hook=\"before-add\"", "le=\"+Inf\""];
        assert_eq!(value("cnidaria_policy_seconds_bucket", &slowest), 5.0);
        assert!(value("cnidaria_policy_seconds_sum", &labels) > 0.0);
        let info = ["policy=\"10-mtu\"", "digest=\"sha256:", "state=\"loaded\""];
        assert_eq!(value("cnidaria_policy_info", &info), 1.0);

        let in_braces = |line: &String| {
            let (_, rest) = line.split_once('{')?;
            rest.split_once('}').map(|(labels, _)| labels.to_owned())
        };
        let text: Vec<String> = metrics.iter().filter_map(in_braces).collect();
        let text = text.join("\n");
        for word in [
            "pod-",
            "default",
            "trapped",
            "blue",
            "1337",
            "9000",
            "odd-network",
            "a-word",
        ] {
            assert!(!text.contains(word), "{word}\n{text}");
        }
        assert!(node.make("DEL", &good).succeeded());
    });
}

#[test]
fn findings_and_failures_raise_pod_events() {
    on_a_private_node(|node| {
        prepare(node);
        let good = pod(node, "a", "1337");
        assert!(node.make("ADD", &good).succeeded(), "{}", node.log());
        let trapped = node.add_pod(Pod::new("trapped", "b")).unwrap();
        assert!(!node.make("ADD", &trapped).succeeded());
        let log = node.log();
        let told = |reason: &str, words: &[&str]| {
            let event = log
                .lines()
                .filter(|line| line.contains(&format!("\"{reason}\"")))
                .find(|line| words.iter().all(|word| line.contains(word)));
            assert!(event.is_some(), "{reason} {words:?}\n{log}");
        };
        told(
            "PolicyFinding",
            &[
                "default/a",
                "20-watch",
                "odd-network",
                "a-word-of-the-policy",
            ],
        );
        told(
            "PolicyFailed",
            &["trapped/b", "30-trap", "before-add, trap"],
        );
    });
}
