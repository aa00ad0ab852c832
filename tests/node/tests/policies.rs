//! Policies on real attachments.

#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::fs;
use std::thread;
use std::time::Duration;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, Sandbox, networks};
use serde_json::json;

/// Makes an ADD that must be denied and leave nothing; returns the answer.
fn refused(node: &Node, pod: &Sandbox) -> Answer {
    let traces = || Traces::of(node, &pod.netns_name).expect("the node can be inspected");
    let before = traces();
    let answer = node.make("ADD", pod);
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    assert_eq!(traces(), before);
    answer
}

/// The MTUs of a pod's links, sorted by link name.
fn mtus(pod: &Sandbox) -> Vec<u64> {
    let links = inspect::links(Some(&pod.netns_name)).expect("the pod can be inspected");
    links.into_iter().map(|link| link.mtu).collect()
}

#[test]
fn policy_edits_outlive_the_policy() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.add_policy("10-mtu", "annotation-mtu", &json!({}))
            .unwrap();
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("blue");
        let pod = node
            .add_pod(pod.annotation("cnidaria.dev/mtu", "blue=1337"))
            .unwrap();
        node.succeed("ADD", &pod);
        assert_eq!(mtus(&pod), [1500, 1337]);

        for file in fs::read_dir(node.path("policies")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        node.stop_daemon().unwrap();
        node.start_daemon().unwrap();
        node.succeed("CHECK", &pod);
        node.succeed("DEL", &pod);
        assert!(inspect::files(&node.path("ledger")).unwrap().is_empty());
    });
}

#[test]
fn denial_names_policy_and_reason() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let config = json!({ "settings": { "min": 1400, "max": 1500 } });
        node.add_policy("10-mtu", "annotation-mtu", &config)
            .unwrap();
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("blue");
        let pod = node
            .add_pod(pod.annotation("cnidaria.dev/mtu", "blue=1337"))
            .unwrap();
        let error = refused(node, &pod).json().unwrap();
        assert_eq!(error["code"], 111);
        for word in ["10-mtu", "1337", "1400", "1500"] {
            assert!(error["msg"].as_str().unwrap().contains(word), "{error:#}");
        }
        let told = node.log();
        let event = told.lines().find(|line| line.contains("PolicyDenied"));
        assert!(event.is_some_and(|line| line.contains("10-mtu")), "{told}");
    });
}

/// A guest with the hook status, and fourteen instances that have `globals` globals each.
fn large(globals: usize) -> Vec<u8> {
    let globals = "(global (mut i64) (i64.const 0))".repeat(globals);
    let instances = "(core instance (instantiate $g))".repeat(14);
    let text = format!(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $g {globals})
        (core module $m (memory (export "memory") 1) (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        {instances}
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).expect("it is WebAssembly")
}

#[test]
fn large_instances_hold_up_no_pod() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let open = json!({ "failurePolicy": "open" });
        node.add_module("10-large", &large(4_000), &open).unwrap();
        node.add_module("20-huge", &large(10_000), &open).unwrap();
        node.start_daemon().unwrap();
        // The daemon may still compile them.
        let refused = "140000 globals, at most 65536";
        node.until(refused, || node.log().contains(refused));
        let pod = node.add_pod(Pod::new("default", "other")).unwrap();
        let node = &*node;
        thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| node.make("STATUS", &pod));
            }
            node.succeed("ADD", &pod);
            assert_eq!(node.health().unwrap(), 200);
        });
    });
}

#[test]
fn broken_module_fails_only_matching_adds() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let config = json!({ "match": { "namespaces": ["guarded"] } });
        node.add_module("10-broken", b"no WebAssembly", &config)
            .unwrap();
        node.start_daemon().unwrap();
        let guarded = node.add_pod(Pod::new("guarded", "a")).unwrap();
        let other = node.add_pod(Pod::new("default", "b")).unwrap();

        let answer = refused(node, &guarded);
        for word in ["10-broken", "10-broken.wasm"] {
            assert!(answer.stdout.contains(word), "{answer:#?}");
        }
        node.succeed("DEL", &guarded);
        node.succeed("ADD", &other);
        node.succeed("DEL", &other);
        let list = node.command_line(&["policy", "list"]).unwrap();
        assert!(list.contains("broken"), "{list}");
    });
}

#[test]
fn endless_policy_does_not_block_del() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let config = json!({
            "settings": { "do": "spin" },
            "limits": { "timeoutMs": 200 },
        });
        node.start_daemon().unwrap();
        let attached = node.add_pod(Pod::new("default", "a")).unwrap();
        node.succeed("ADD", &attached);
        node.stop_daemon().unwrap();

        node.add_policy("10-endless", "hostile-misbehave", &config)
            .unwrap();
        node.start_daemon().unwrap();
        let late = node.add_pod(Pod::new("default", "b")).unwrap();
        let answer = refused(node, &late);
        assert!(answer.stdout.contains("10-endless"), "{answer:#?}");
        assert!(answer.took >= Duration::from_millis(200), "{answer:#?}");
        assert!(answer.took < Duration::from_secs(5), "{answer:#?}");
        node.succeed("DEL", &attached);
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
    });
}

#[test]
fn a_module_that_ended_the_daemon_is_quarantined() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let config = json!({ "settings": { "do": "spin" }, "limits": { "timeoutMs": 10_000 } });
        node.add_policy("10-endless", "hostile-misbehave", &config)
            .unwrap();
        node.start_daemon().unwrap();
        let pod = node.add_pod(Pod::new("default", "a")).unwrap();
        let add = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || add.make());
        let marks = node.path("policy-cache/quarantine/marks");
        // Instantiation is marked before the hook is.
        let is_marked = || {
            let files = fs::read_dir(&marks).into_iter().flatten().flatten();
            let mut texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
            texts.any(|text| text.contains("before-add"))
        };
        node.until("the hook is marked", is_marked);
        node.kill_daemon().unwrap();
        assert!(!adding.join().unwrap().unwrap().succeeded());

        node.write(
            "policies/10-endless.json",
            r#"{"settings":{"do":"accept"}}"#,
        )
        .unwrap();
        for _ in 0..2 {
            node.start_daemon().unwrap();
            let list = node.command_line(&["policy", "list"]).unwrap();
            assert!(list.contains("quarantined"), "{list}");
            assert!(
                list.contains("cnidaria policy release 10-endless"),
                "{list}"
            );
            let answer = refused(node, &pod);
            assert!(answer.stdout.contains("10-endless"), "{answer:#?}");
            node.stop_daemon().unwrap();
        }
        node.start_daemon().unwrap();
        node.command_line(&["policy", "release", "10-endless"])
            .unwrap();
        // The module is loaded once a child has made an instance of it.
        node.until("the policy is loaded", || {
            let list = node.command_line(&["policy", "list"]).unwrap();
            list.contains("loaded")
        });
        node.succeed("ADD", &pod);
        node.succeed("DEL", &pod);
    });
}
