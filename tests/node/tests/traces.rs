//! One trace from the runtime through shim, daemon and policies into each plugin.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use node::case::on_a_private_node;
use node::{Node, Pod, networks};
use serde_json::{Value, json};

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Adds a network whose plugin writes its context into a file of this name.
fn add_witness(node: &mut Node) {
    let file = node.path("context");
    let directory = node.plugins();
    let plugin = format!(
        "#!/bin/sh\ncat >/dev/null\necho \"$TRACEPARENT $TRACESTATE\" >{}\n\
         [ $CNI_COMMAND = DEL ] || echo '{{\"cniVersion\":\"1.0.0\"}}'\n",
        file.display()
    );
    let path = std::path::Path::new(&directory).join("witness");
    fs::write(&path, plugin).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    let conf = json!({ "cniVersion": "1.0.0", "name": "witness", "type": "witness" });
    node.add_network("default", "witness", &conf).unwrap();
}

fn trace(node: &Node, wanted: &str) -> Value {
    let text = node
        .command_line(&["--output", "json", "trace", wanted])
        .unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    list["traces"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn one_trace_reaches_policies_and_plugins() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        add_witness(node);
        let config = json!({ "mode": "enforce" });
        node.add_policy("10-mtu", "annotation-mtu", &config)
            .unwrap();
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("witness");
        let sandbox = node.add_pod(pod).unwrap();
        let add = node.call("ADD", &sandbox).unwrap();
        let add = add.with("TRACEPARENT", CONTEXT);
        let added = add.with("TRACESTATE", "congo=t61").make().unwrap();
        assert!(added.succeeded(), "{added:?}");

        let trace = trace(node, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace["parentSpanId"], "00f067aa0ba902b7");
        let spans = trace["spans"].as_array().unwrap();
        let context = fs::read_to_string(node.path("context")).unwrap();
        let (context, state) = context.trim().split_once(' ').unwrap();
        assert_eq!(state, "congo=t61");
        let parts: Vec<&str> = context.split('-').collect();
        assert_eq!(parts[1], trace["id"]);
        let delegate = spans.iter().find(|span| span["id"] == parts[2]).unwrap();
        assert_eq!(delegate["name"], "delegate");
        assert_eq!(delegate["attributes"]["plugin"], "witness");
        let policies: Vec<&Value> = spans
            .iter()
            .filter(|span| span["name"] == "policy")
            .collect();
        assert!(!policies.is_empty(), "{trace}");
        let is_of_hook = |span: &&&Value| span["attributes"]["hook"] == "before-add";
        let hooks = policies.iter().filter(is_of_hook).count();
        assert_eq!(hooks, 2, "one for each attachment: {trace}");
        for policy in policies {
            assert_eq!(policy["attributes"]["outcome"], "accept");
            let above = spans
                .iter()
                .find(|span| span["id"] == policy["parentId"])
                .unwrap();
            assert_eq!(above["name"], policy["attributes"]["hook"], "{trace}");
        }
        // The log's line names the request.
        assert!(node.log().contains("4bf92f3577b34da6a3ce929d0e0e4736"));
    });
}

#[test]
fn traces_can_be_turned_off() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        add_witness(node);
        node.config["cnidaria"]["trace"] = json!({ "requests": 0 });
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("witness");
        let sandbox = node.add_pod(pod).unwrap();
        let add = node.call("ADD", &sandbox).unwrap();
        let added = add.with("TRACEPARENT", CONTEXT).make().unwrap();
        assert!(added.succeeded(), "{added:?}");
        assert_eq!(fs::read_to_string(node.path("context")).unwrap(), " \n");
        let error = node.command_line(&["trace"]).unwrap_err();
        assert!(error.to_string().contains("traces no requests"), "{error}");
    });
}
