//! A running daemon picks up changes in its policy directories.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what is missing fails the test, in its helpers too"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;

use node::case::on_a_private_node;
use node::{Node, Pod, inspect, networks};
use serde_json::{Value, json};

/// The policies as the command line lists them.
fn policies(node: &Node) -> Vec<Value> {
    let list = node.command_line(&["--output", "json", "policy", "list"]);
    let list: Value = serde_json::from_str(&list.expect("the daemon answers")).unwrap();
    list["policies"].as_array().cloned().unwrap_or_default()
}

/// How many times the log contains a text.
fn logged(node: &Node, text: &str) -> usize {
    node.log()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

/// Lays out the second configuration directory as the kubelet mounts a ConfigMap: files link to
/// `..data/`, itself a link to the current version's directory.
fn mount(node: &Node, version: &str, files: &[(&str, &Value)]) {
    let dir = node.path("config-map");
    let data = dir.join(format!("..{version}"));
    fs::create_dir_all(&data).unwrap();
    for (name, config) in files {
        fs::write(data.join(name), config.to_string()).unwrap();
        let link = dir.join(name);
        if !link.is_symlink() {
            symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    symlink(format!("..{version}"), dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

/// Installs a witness module, and configurations in a ConfigMap.
fn prepare(node: &mut Node, files: &[(&str, &Value)]) {
    networks::prepare(node).unwrap();
    node.add_policy("witness", "witness", &json!({})).unwrap();
    fs::remove_file(node.path("policies/witness.json")).unwrap();
    mount(node, "1", files);
    let config_map = json!(node.path("config-map"));
    node.config["cnidaria"]["policies"]["configs"] = config_map;
    node.conf["cniVersion"] = json!("1.1.0");
    node.start_daemon().unwrap();
}

fn tagging(tag: &str) -> Value {
    json!({
        "module": "witness.wasm", "grants": ["state"],
        "settings": { "after-add": [{ "tag": ["generation", tag] }] },
    })
}

fn denying() -> Value {
    json!({
        "module": "witness.wasm", "grants": ["state"],
        "settings": { "after-add": [{ "deny": [150, "not any more"] }] },
    })
}

#[test]
fn config_map_swap_spares_running_requests() {
    on_a_private_node(|node| {
        let first = tagging("one");
        let audit = json!({"module": "witness.wasm", "grants": ["state"], "mode": "audit"});
        prepare(node, &[("10-a.json", &first), ("20-b.json", &audit)]);
        let gate = node.path("gate");
        let slow = networks::fake("slow", &json!({ "ADD": { "until": gate } }));
        node.add_network("default", "slow", &slow).unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("slow"))
            .unwrap();
        let call = node.call("ADD", &pod).unwrap();
        let under_way = thread::spawn(move || call.make());
        // Its first network is attached, so the ADD has begun.
        node.until("the ADD begins", || logged(node, "\"AddedInterface\"") > 0);

        mount(
            node,
            "2",
            &[("10-a.json", &denying()), ("20-b.json", &audit)],
        );
        node.until("the reload", || logged(node, "\"loaded a policy\"") == 3);
        fs::write(&gate, "").unwrap();
        let answer = under_way.join().unwrap().unwrap();
        assert!(answer.succeeded(), "{answer:#?}\n{}", node.log());
        let status = node.network_status(&pod.pod).unwrap();
        assert!(status.to_string().contains("\"one\""), "{status}");

        let late = node.add_pod(Pod::new("default", "b")).unwrap();
        let answer = node.make("ADD", &late);
        assert!(answer.stdout.contains("not any more"), "{answer:#?}");
        assert_eq!(
            logged(node, "\"loaded a policy\""),
            3,
            "what did not change is not configured again"
        );
        let artefacts = inspect::files(&node.path("policy-cache")).unwrap();
        let compiled = |path: &&PathBuf| path.extension().is_some_and(|found| found == "cwasm");
        assert_eq!(
            artefacts.keys().filter(compiled).count(),
            1,
            "{:?}",
            artefacts.keys()
        );
        node.succeed("DEL", &pod);
    });
}

#[test]
fn bad_reload_keeps_policy_or_fails_status() {
    on_a_private_node(|node| {
        prepare(node, &[("10-a.json", &tagging("good"))]);
        mount(
            node,
            "2",
            &[(
                "10-a.json",
                &json!({"module": "witness.wasm", "mod": "audit"}),
            )],
        );
        node.until("stale", || policies(node)[0]["state"] == "stale");
        let listed = policies(node);
        let error = listed[0]["lastError"].as_str().unwrap();
        assert!(
            error.contains("mod: unknown key; did you mean \"mode\"?"),
            "{error}"
        );
        assert!(error.contains("10-a.json"), "{error}");
        let pod = node.add_pod(Pod::new("default", "a")).unwrap();
        node.succeed("ADD", &pod);
        let status = node.network_status(&pod.pod).unwrap();
        assert!(status.to_string().contains("\"good\""), "{status}");
        node.succeed("STATUS", &pod);

        let required = json!({"module": "gone.wasm", "required": true, "failurePolicy": "open"});
        mount(
            node,
            "3",
            &[("10-a.json", &tagging("good")), ("20-b.json", &required)],
        );
        node.until("broken", || policies(node).len() == 2);
        let answer = node.make("STATUS", &pod);
        let error = answer.json().unwrap();
        assert_eq!(error["code"], 50, "{error:#}");
        assert!(error.to_string().contains("20-b"), "{error:#}");
        let other = node.add_pod(Pod::new("default", "b")).unwrap();
        assert!(!node.make("ADD", &other).succeeded());
        node.succeed("DEL", &pod);
    });
}
