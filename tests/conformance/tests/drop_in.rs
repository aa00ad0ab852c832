//! A node migrates from Multus and back: its ledger, its requests, and a clean end state.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::rig::Rig;
use conformance::{compare, exchange, golden, normal, observe};
use node::case::on_a_private_node;
use node::{Node, inspect};
use serde_json::{Value, json};

/// Versions that pass ADD's result to DEL.
const WITH_RESULT: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];
const PODS: [&str; 6] = ["cross-ns", "gw", "json-sel", "one-br", "one-mv", "plain"];

/// Writes a recording's files where Multus left them.
fn write_ledger(rig: &Rig<'_>, recorded: &Value) {
    for (path, file) in recorded.as_object().unwrap() {
        let json: Value = serde_json::from_str(file["text"].as_str().unwrap()).unwrap();
        let text = with_rig(json, &rig.root).to_string();
        let name = Path::new(path).strip_prefix(&rig.root).unwrap();
        rig.node.write(name.to_str().unwrap(), text).unwrap();
    }
}

/// Fills in the rig's directory inside base64.
fn with_rig(value: Value, root: &str) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| match (key.as_str(), &value) {
                ("Bytes" | "config", Value::String(text)) => {
                    let text = golden::decoded(text, root);
                    (key, json!(STANDARD.encode(text)))
                }
                _ => (key, with_rig(value, root)),
            })
            .collect(),
        Value::Array(elements) => elements.into_iter().map(|e| with_rig(e, root)).collect(),
        other => other,
    }
}

/// The calls that DEL must make, derived from Multus' recording of the ADD.
fn expected_calls(recorded: &Value) -> Vec<Value> {
    let files = recorded["cnidir"].as_object().unwrap();
    let cached = |interface: &str| -> Value {
        let of_interface = |(path, _): &(&String, &Value)| path.ends_with(&format!("-{interface}"));
        let (_, file) = files.iter().find(of_interface).unwrap();
        serde_json::from_str(file["text"].as_str().unwrap()).unwrap()
    };
    let calls = recorded["ADD"]["delegate_calls"].as_array().unwrap();
    let delete = |call: &Value| {
        let mut env = call["env"].clone();
        env["CNI_COMMAND"] = json!("DEL");
        let arguments = env["CNI_ARGS"].as_str().unwrap();
        env["CNI_ARGS"] = json!(normal::without_addresses(arguments));
        let cached = cached(env["CNI_IFNAME"].as_str().unwrap());
        let mut conf: Value = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
        let members = conf.as_object_mut().unwrap();
        members.remove("prevResult");
        if WITH_RESULT.contains(&members["cniVersion"].as_str().unwrap()) {
            members.insert("prevResult".to_owned(), cached["result"].clone());
        }
        json!({ "env": env, "stdin": conf })
    };
    calls.iter().rev().map(delete).collect()
}

/// Numbers as Go prints them and as recordings write them, in one form; addresses without the
/// version that Multus leaves empty.
fn comparable(value: Value) -> Value {
    match value {
        Value::Object(mut members) => {
            if members.contains_key("address") {
                members.remove("version");
            }
            let members = members.into_iter();
            members
                .map(|(key, value)| (key, comparable(value)))
                .collect()
        }
        Value::Array(elements) => elements.into_iter().map(comparable).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other,
    }
}

#[test]
fn del_of_multus_ledger_makes_the_right_calls() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        for pod in ["plain", "tr", "tr2"] {
            rig.make_namespace(&format!("g-{pod}"));
            let recorded = rig.golden(&format!("delegate-calls/tracer-{pod}.json"));
            write_ledger(&rig, &recorded["cnidir"]);
            rig.succeed(&recorded["DEL"]["shim"]);
            let calls: Vec<Value> = rig
                .calls()
                .iter()
                .map(|call| {
                    let mut env = call["env"].clone();
                    env.as_object_mut().unwrap().remove("PATH");
                    let conf: Value =
                        serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
                    json!({ "env": env, "stdin": conf })
                })
                .collect();
            compare::same(
                &format!("calls of the DEL of {pod}"),
                &comparable(expected_calls(&recorded).into()),
                &comparable(calls.into()),
            );
            assert_eq!(observe::ledger(rig.node), json!({}));
        }
    });
}

#[test]
fn multus_format_is_checked_and_deleted() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        for pod in PODS {
            let life = rig.golden(&format!("lifecycle/ok-{pod}.json"));
            rig.make_namespace(&format!("g-{pod}"));
            rig.succeed(&life["add"]);
            as_multus_writes_it(rig.node, &format!("cnidir/cid-{pod}"));
            // Immediately: the bridge changes its hardware address when the next pod joins.
            rig.succeed(&life["check"]);
        }
        rig.node.stop_daemon().unwrap();
        rig.node.start_daemon().unwrap();
        for pod in PODS {
            let life = rig.golden(&format!("lifecycle/ok-{pod}.json"));
            rig.succeed(&life["del"]);
            let links = inspect::links(Some(&format!("g-{pod}"))).unwrap();
            assert!(links.is_empty(), "{pod}: {links:?}");
        }
        rig.nothing_is_left();
    });
}

/// Removes our own members from a delegates file.
fn as_multus_writes_it(node: &Node, name: &str) {
    let text = std::fs::read_to_string(node.path(name)).unwrap();
    let mut delegates: Value = serde_json::from_str(&text).unwrap();
    for delegate in delegates.as_array_mut().unwrap() {
        delegate
            .as_object_mut()
            .unwrap()
            .remove("cnidaria")
            .unwrap();
    }
    node.write(name, delegates.to_string()).unwrap();
}

#[test]
fn multus_own_files_of_real_plugins_are_deleted() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        for pod in PODS {
            // The recorded ledger is from Multus' node; only host-local's files are missing here.
            let life = rig.golden(&format!("lifecycle/ok-{pod}.json"));
            rig.make_namespace(&format!("g-{pod}"));
            write_ledger(&rig, &life["cnidir_after_add"]);
            rig.succeed(&life["del"]);
        }
        rig.nothing_is_left();
    });
}

#[test]
fn multus_shim_request_gets_multus_response() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        rig.make_namespace("g-one-br");
        let life = rig.golden("lifecycle/ok-one-br.json");
        let post = |step: &str| {
            let mut env = life[step]["env"].clone();
            // Multus' shim sends its whole environment.
            for (name, value) in [
                ("PATH", "/usr/bin"),
                ("HOME", "/root"),
                ("INVOCATION_ID", "1"),
                ("NOTHING", ""),
            ] {
                env[name] = json!(value);
            }
            let conf = life[step]["stdin"].as_str().unwrap();
            let body = json!({ "env": env, "config": STANDARD.encode(conf) });
            exchange::post(&rig.socket(), "/cni", &body)
        };
        let (status, body) = post("add");
        assert_eq!(status, 200, "{body}");
        let recorded: Value =
            serde_json::from_str(life["add"]["stdout"].as_str().unwrap()).unwrap();
        compare::same(
            "result",
            &normal::value(json!({ "Result": recorded })),
            &normal::value(serde_json::from_str(&body).unwrap()),
        );
        for step in ["check", "del", "del_again"] {
            assert_eq!(post(step), (200, String::new()), "{step}");
        }
        rig.nothing_is_left();

        // Without the fields that only our shim sends, the response is an error object as JSON.
        let (status, body) = exchange::post(&rig.socket(), "/cni", &json!({ "env": {} }));
        assert_eq!(status, 400, "{body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(error["code"], 4, "{body}");
        assert!(error["msg"].is_string(), "{body}");
    });
}

#[test]
fn add_and_del_of_every_pod_leave_nothing() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let processes = observe::processes();
        let every = golden::names("lifecycle");
        let pods: Vec<&String> = every
            .iter()
            .filter(|name| name.starts_with("ok-") || name.starts_with("bad-"))
            .collect();
        assert!(pods.len() >= 16, "{pods:?}");
        for name in &pods {
            let life = rig.golden(&format!("lifecycle/{name}.json"));
            let netns = life["add"]["env"]["CNI_NETNS"].as_str().unwrap();
            rig.make_namespace(netns.trim_start_matches("/run/netns/"));
            let answer = rig.replay(&life["add"]);
            assert_eq!(
                answer.succeeded(),
                name.starts_with("ok-"),
                "{name}: {answer:#?}"
            );
        }
        for name in &pods {
            let life = rig.golden(&format!("lifecycle/{name}.json"));
            rig.succeed(&life["del"]);
        }
        rig.nothing_is_left();
        assert_eq!(observe::processes(), processes);
    });
}
