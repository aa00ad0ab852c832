//! The state after a call, in the recordings' format.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use node::{Node, inspect, run};
use serde_json::{Map, Value, json};

use crate::golden;

/// Interfaces and IPv4 routes of a network namespace.
///
/// # Panics
/// When the namespace does not exist.
pub fn namespace(netns: &str) -> Value {
    let ask = |what: &str| -> Value {
        let output = run("ip", &["-json", "-n", netns, what, "show"]).unwrap();
        serde_json::from_str(if output.trim().is_empty() {
            "[]"
        } else {
            &output
        })
        .unwrap()
    };
    let links: Vec<Value> = ask("address")
        .as_array()
        .into_iter()
        .flatten()
        .map(|link| {
            let addresses: Vec<String> = link["addr_info"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|address| address["scope"] == "global")
                .map(|a| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"]))
                .collect();
            json!({
                "ifname": link["ifname"], "mac": link["address"], "mtu": link["mtu"],
                "state": link["operstate"], "addrs": addresses,
            })
        })
        .collect();
    json!({ "addr": links, "routes": ask("route") })
}

/// Every file below `cniDir`: its mode, and its text as JSON with base64 decoded.
///
/// # Panics
/// When a file is not JSON.
pub fn ledger(node: &Node) -> Value {
    let root = node.path("");
    let directory = node.path("cnidir");
    if !directory.exists() {
        return json!({});
    }
    let files = inspect::files(&directory).unwrap();
    let seen: Map<String, Value> = files
        .into_iter()
        // Kept for people; the daemon never reads them again.
        .filter(|(path, _)| !path.starts_with(".damaged"))
        .map(|(path, bytes)| {
            let path = directory.join(path);
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let text = String::from_utf8(bytes).unwrap();
            let seen = json!({ "mode": format!("0o{mode:o}"), "text": text });
            let mut opened = opened_file(&seen, &root);
            // Our own members, which the Go library ignores.
            if let Some(Value::Object(result)) = opened.get_mut("json") {
                result.remove("sha256");
                result.remove("cnidaria");
            }
            (path.display().to_string(), opened)
        })
        .collect();
    Value::Object(seen)
}

/// The recorded files in the same format.
pub fn recorded_ledger(files: &Value, root: &Path) -> Value {
    let opened = files
        .as_object()
        .into_iter()
        .flatten()
        .map(|(path, file)| (path.clone(), opened_file(file, root)));
    Value::Object(opened.collect())
}

fn opened_file(file: &Value, root: &Path) -> Value {
    let text: Value = serde_json::from_str(file["text"].as_str().unwrap()).unwrap();
    let root = root.to_str().unwrap().trim_end_matches('/');
    json!({ "mode": file["mode"], "json": golden::opened(text, root) })
}

/// A pod's Events in order: type, reason and message.
pub fn events(node: &Node, pod: &str) -> Vec<Value> {
    node.log()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["pod"] == pod && line["reason"].is_string())
        .map(|line| {
            let kind = if line["level"] == "WARN" {
                "Warning"
            } else {
                "Normal"
            };
            json!({ "type": kind, "reason": line["reason"], "message": line["message"] })
        })
        .collect()
}

/// The recorded Events in the same format. The case had run in that cluster before, so duplicates
/// are dropped.
pub fn recorded_events(events: &Value) -> Vec<Value> {
    let mut once: Vec<Value> = Vec::new();
    for event in events.as_array().into_iter().flatten() {
        let event = crate::normal::value(json!({
            "type": event["type"], "reason": event["reason"], "message": event["message"],
        }));
        if !once.contains(&event) {
            once.push(event);
        }
    }
    once
}

/// A pod's network-status; `null` if it has none.
pub fn status(node: &Node, pod: &str) -> Value {
    let path = node.path(&format!("status/{pod}.json"));
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str::<Value>(&text).unwrap()["network-status"].take(),
        Err(_) => Value::Null,
    }
}

/// The recorded network-status; `null` without one.
pub fn recorded_status(annotations: &Value) -> Value {
    let text = annotations["k8s.v1.cni.cncf.io/network-status"].as_str();
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// Names of the node's processes, except the test and its shell.
///
/// # Panics
/// When `/proc` is missing.
pub fn processes() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}
