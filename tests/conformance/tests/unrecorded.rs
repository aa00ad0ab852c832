//! Pods from the recordings' inputs without recorded answers: the same rules must hold.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use conformance::observe;
use conformance::rig::Rig;
use node::case::on_a_private_node;
use node::{Answer, Node};
use serde_json::{Value, json};

/// A recorded execution of a verb, applied to another pod.
fn call(rig: &Rig<'_>, verb: &str, pod: &str) -> Answer {
    rig.make_namespace(&format!("g-{pod}"));
    let recorded = rig.golden("lifecycle/ok-one-br.json");
    let of_pod = recorded["add"].to_string().replace("one-br", pod);
    let mut execution: Value = serde_json::from_str(&of_pod).unwrap();
    execution["env"]["CNI_COMMAND"] = json!(verb);
    rig.replay(&execution)
}

fn succeed(rig: &Rig<'_>, verb: &str, pod: &str) -> Answer {
    let answer = call(rig, verb, pod);
    assert!(answer.succeeded(), "{verb} {pod}: {answer:#?}");
    answer
}

fn started(node: &mut Node) -> Rig<'_> {
    let rig = Rig::new(node, "conf");
    rig.node.config["cnidaria"]["timeouts"] = json!({ "delegateMs": 1_000 });
    rig.install("hang", &json!({ "ADD": { "hang": true } }));
    rig.install("slow", &json!({ "ADD": { "sleepMs": 300 } }));
    rig.node.start_daemon().unwrap();
    rig
}

#[test]
fn pods_that_ask_for_what_is_there_get_it() {
    on_a_private_node(|node| {
        let rig = started(node);
        let expected: [(&str, &[(&str, &str)]); 6] = [
            (
                "two",
                &[
                    ("cbr0", "eth0"),
                    ("default/br-sec", "data0"),
                    ("default/macvlan-a", "net2"),
                ],
            ),
            ("noop-0", &[("cbr0", "eth0")]),
            ("noop-1", &[("cbr0", "eth0"), ("default/noop1", "net1")]),
            (
                "noop-4",
                &[
                    ("cbr0", "eth0"),
                    ("default/noop1", "net1"),
                    ("default/noop2", "net2"),
                    ("default/noop3", "net3"),
                    ("default/noop4", "net4"),
                ],
            ),
            ("slow", &[("cbr0", "eth0"), ("default/slow", "net1")]),
            // The pod's sandbox is on this node, whatever the scheduler's `nodeName` says.
            ("othernode", &[("cbr0", "eth0"), ("default/br-sec", "net1")]),
        ];
        for (pod, networks) in expected {
            succeed(&rig, "ADD", pod);
            let status = observe::status(rig.node, &format!("default/{pod}"));
            let found: Vec<(&str, &str)> = status
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    (
                        one["name"].as_str().unwrap(),
                        one["interface"].as_str().unwrap(),
                    )
                })
                .collect();
            assert_eq!(found, networks, "{pod}");
            succeed(&rig, "CHECK", pod);
            succeed(&rig, "DEL", pod);
            rig.nothing_is_left_of(pod);
            succeed(&rig, "DEL", pod);
        }
    });
}

#[test]
fn invalid_pods_fail_with_a_reason() {
    on_a_private_node(|node| {
        let rig = started(node);
        let expected: [(&str, u64, &[&str]); 8] = [
            (
                "bad-ifname",
                7,
                &["default/bad-ifname", "averyveryverylongname"],
            ),
            ("bad-nadjson", 7, &["default/badjson", "JSON"]),
            ("bad-empty", 7, &["default/empty"]),
            ("bad-second", 11, &["default/failing", "try again later"]),
            ("bad-dupif", 7, &["default/br-sec", "eth0"]),
            ("defnet", 7, &["kube-system/noop1", "not found"]),
            (
                "nogw-multi",
                7,
                &["default/br-sec", "default/macvlan-a", "default route"],
            ),
            ("hang", 11, &["default/hang"]),
        ];
        for (pod, code, words) in expected {
            let answer = call(&rig, "ADD", pod);
            assert_eq!(answer.code, Some(1), "{pod}: {answer:#?}");
            let error = answer.json().unwrap();
            let text = format!("{} {}", error["msg"], error["details"]);
            for word in words {
                assert!(text.contains(word), "{pod}: {word} is missing: {error:#}");
            }
            assert_eq!(error["code"], code, "{pod}: {error:#}");
            rig.nothing_is_left_of(pod);
            assert_eq!(
                observe::status(rig.node, &format!("default/{pod}")),
                Value::Null
            );
            succeed(&rig, "DEL", pod);
        }
    });
}

#[test]
fn del_leaves_nothing_after_any_add() {
    on_a_private_node(|node| {
        let rig = started(node);
        let processes = observe::processes();
        let mut pods = Vec::new();
        for file in ["inputs/pods.json", "tracer.json"] {
            let list = rig.golden(file);
            let all = list["items"].as_array().unwrap().iter();
            let of_default = all.filter(|one| one["kind"] == "Pod");
            pods.extend(of_default.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()));
        }
        assert!(pods.len() >= 34, "{pods:?}");
        let added = pods
            .iter()
            .filter(|pod| call(&rig, "ADD", pod).succeeded())
            .count();
        assert!(added >= 14, "{added} of {pods:?}");
        for pod in &pods {
            succeed(&rig, "DEL", pod);
        }
        for pod in &pods {
            rig.nothing_is_left_of(pod);
        }
        assert_eq!(observe::processes(), processes);
    });
}
