//! An ADD that fails at its second network leaves nothing of the first.

#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::fs;
use std::time::Duration;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, networks};
use serde_json::{Value, json};

/// Adds a pod whose second network follows the instructions; nothing may be left. Returns the
/// answer.
fn fail_at_the_second_network(node: &mut Node, conf: &Value) -> Answer {
    let add = |node: &mut Node| {
        networks::prepare(node)?;
        node.add_network("default", "bad", conf)?;
        if let Some(Value::Object(own)) = node.config.get_mut("cnidaria") {
            own.insert("timeouts".to_owned(), json!({ "delegateMs": 1000 }));
        }
        node.start_daemon()?;
        let pod = node.add_pod(Pod::new("default", "a").networks("blue,bad"))?;
        let before = Traces::of(node, &pod.netns_name)?;
        let answer = node.call("ADD", &pod)?.make()?;
        Ok((answer, before, Traces::of(node, &pod.netns_name)?))
    };
    let (answer, before, after) = add(node).unwrap_or_else(|error: node::Error| {
        unreachable!("the case cannot be set up: {}", error.chain())
    });
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    assert_eq!(after, before, "{answer:#?}");
    let status = inspect::files(&node.path("status")).expect("the directory can be read");
    assert!(status.is_empty(), "{status:?}");
    answer
}

#[test]
fn delegate_error_keeps_its_code() {
    on_a_private_node(|node| {
        let error = json!({ "cniVersion": "1.0.0", "code": 117, "msg": "no port", "details": "d" });
        let conf = networks::fake("bad", &json!({ "ADD": { "error": error } }));
        let error = fail_at_the_second_network(node, &conf).json().unwrap();
        assert_eq!(error["code"], 117);
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains("default/bad"), "{message}");
        assert!(message.contains("no port"), "{message}");
        assert_eq!(error["details"], "d");
    });
}

#[test]
fn missing_binary_error_lists_directories() {
    on_a_private_node(|node| {
        let conf = json!({ "cniVersion": "1.0.0", "name": "bad", "type": "no-such-plugin" });
        let error = fail_at_the_second_network(node, &conf).json().unwrap();
        let text = error.to_string();
        assert!(text.contains("no-such-plugin"), "{text}");
        assert!(text.contains(&node.plugins()), "{text}");
    });
}

#[test]
fn what_was_added_is_deleted_in_reverse_order() {
    on_a_private_node(|node| {
        let calls = node.path("calls");
        fs::create_dir(&calls).unwrap();
        let recorded = json!({ "record": calls });
        for name in ["one", "two"] {
            let conf = networks::fake(name, &recorded);
            node.add_network("default", name, &conf).unwrap();
        }
        networks::prepare(node).unwrap();
        let failing = json!({ "record": calls, "ADD": { "exit": 1 } });
        let conf = networks::fake("bad", &failing);
        node.add_network("default", "bad", &conf).unwrap();
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("one,two,bad");
        let pod = node.add_pod(pod).unwrap();
        let answer = node.call("ADD", &pod).unwrap().make().unwrap();
        assert_eq!(answer.code, Some(1), "{answer:#?}");

        let order: Vec<_> = inspect::files(&calls)
            .unwrap()
            .into_values()
            .map(|bytes| {
                let record: Value = serde_json::from_slice(&bytes).unwrap();
                let variable = |name: &str| record["env"][name].as_str().unwrap().to_owned();
                format!("{} {}", variable("CNI_COMMAND"), variable("CNI_IFNAME"))
            })
            .collect();
        assert_eq!(
            order,
            [
                "ADD net1", "ADD net2", "ADD net3", "DEL net3", "DEL net2", "DEL net1"
            ]
        );
    });
}

#[test]
fn a_delegate_that_hangs_is_stopped() {
    on_a_private_node(|node| {
        let conf = networks::fake("bad", &json!({ "ADD": { "hang": true } }));
        let answer = fail_at_the_second_network(node, &conf);
        assert!(answer.took < Duration::from_secs(20), "{answer:#?}");
        assert!(answer.stdout.contains("default/bad"), "{answer:#?}");
    });
}

#[test]
fn delegate_killed_by_signal_fails_the_add() {
    on_a_private_node(|node| {
        let conf = networks::fake("bad", &json!({ "ADD": { "signal": 9 } }));
        let answer = fail_at_the_second_network(node, &conf);
        assert!(answer.stdout.contains("default/bad"), "{answer:#?}");
    });
}

#[test]
fn delegate_without_result_fails_the_add() {
    on_a_private_node(|node| {
        let conf = networks::fake("bad", &json!({ "ADD": { "text": "no result" } }));
        let answer = fail_at_the_second_network(node, &conf);
        assert!(answer.stdout.contains("default/bad"), "{answer:#?}");
    });
}

#[test]
fn endless_delegate_output_fails_the_add() {
    on_a_private_node(|node| {
        let conf = networks::fake("bad", &json!({ "ADD": { "spew": 1_u64 << 40 } }));
        let answer = fail_at_the_second_network(node, &conf);
        assert!(answer.stdout.contains("default/bad"), "{answer:#?}");
    });
}
