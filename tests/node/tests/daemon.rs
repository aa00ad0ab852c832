//! The daemon stops and restarts, and only its owner may use it.

#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, Sandbox, networks, runs, until};
use serde_json::json;

fn node_and_pod(node: &mut Node) -> Sandbox {
    let mut prepare = || {
        networks::prepare(node)?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a").networks("blue"))
    };
    prepare().expect("the node can be prepared")
}

#[test]
fn check_and_del_work_after_restart() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let before = Traces::of(node, &pod.netns_name).unwrap();
        assert!(node.make("ADD", &pod).succeeded());
        node.stop_daemon().unwrap();
        node.start_daemon().unwrap();
        assert!(node.make("CHECK", &pod).succeeded());
        node.kill_daemon().unwrap();
        node.start_daemon().unwrap();
        assert!(node.make("CHECK", &pod).succeeded());
        assert!(node.make("DEL", &pod).succeeded());
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), before);
    });
}

#[test]
fn missing_daemon_fails_check_but_defers_del() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        assert!(node.make("ADD", &pod).succeeded());
        node.kill_daemon().unwrap();
        let before = Traces::of(node, &pod.netns_name).unwrap();
        node.conf["cniVersion"] = json!("1.1.0");
        for (command, code) in [("CHECK", 11), ("STATUS", 50)] {
            let answer = node.make(command, &pod);
            assert_eq!(answer.code, Some(1), "{command}: {answer:#?}");
            let error = answer.json().unwrap();
            assert_eq!(error["code"], code, "{command}: {error:#}");
            assert!(
                answer.took < Duration::from_secs(1),
                "{command}: {answer:#?}"
            );
        }
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), before);
        let del = node.make("DEL", &pod);
        assert!(del.succeeded(), "{del:#?}");
        assert!(del.took < Duration::from_secs(1), "{del:#?}");
        node.start_daemon().unwrap();
        node.until("the recorded DEL is carried out", || {
            let traces = Traces::of(node, &pod.netns_name).unwrap();
            traces.ledger.is_empty()
        });
        only_the_wire_is_left(node, &pod);
    });
}

#[test]
fn add_times_out_with_code_11_without_daemon() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        node.stop_daemon().unwrap();
        node.conf["cnidaria"] = json!({ "shim": { "addConnectTimeoutMs": 400 } });
        let answer = node.make("ADD", &pod);
        assert_eq!(answer.json().unwrap()["code"], 11, "{answer:#?}");
        assert!(answer.took >= Duration::from_millis(400), "{answer:#?}");
        assert!(answer.took < Duration::from_secs(5), "{answer:#?}");
    });
}

#[test]
fn add_waits_for_restarting_daemon() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        node.stop_daemon().unwrap();
        let call = node.call("ADD", &pod).unwrap();
        let waiting = thread::spawn(move || call.make().unwrap());
        node.until("the shim runs", || runs("cnidaria-shim"));
        node.start_daemon().unwrap();
        let answer = waiting.join().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
    });
}

#[test]
fn socket_and_directory_are_for_the_owner_alone() {
    on_a_private_node(|node| {
        node_and_pod(node);
        let mode = |name: &str| {
            let metadata = fs::metadata(node.path(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("multus"), 0o700);
        assert_eq!(mode("multus/multus.sock"), 0o600);
    });
}

#[test]
fn failed_del_stays_in_the_ledger() {
    on_a_private_node(|node| {
        let failing =
            json!({ "DEL": { "error": { "cniVersion": "1.0.0", "code": 111, "msg": "busy" } } });
        networks::prepare(node).unwrap();
        // The instructions are beside the binary, so that they can change while the pod exists.
        let beside = node.path("bin/fake.fake.json");
        node.add_network(
            "default",
            "sticky",
            &json!({ "cniVersion": "1.0.0", "name": "sticky", "type": networks::FAKE }),
        )
        .unwrap();
        fs::write(&beside, failing.to_string()).unwrap();
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "a").networks("blue,sticky");
        let pod = node.add_pod(pod).unwrap();
        assert!(node.make("ADD", &pod).succeeded());

        let failed = node.make("DEL", &pod);
        assert_eq!(failed.json().unwrap()["code"], 111, "{failed:#?}");
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
        assert!(!inspect::files(&node.path("ledger")).unwrap().is_empty());

        fs::remove_file(&beside).unwrap();
        assert!(node.make("DEL", &pod).succeeded());
        assert!(inspect::files(&node.path("ledger")).unwrap().is_empty());
    });
}

/// A pod whose second network blocks in ADD until a file exists, and a thread that adds it. Returns
/// once the first network is attached.
fn add_that_waits(node: &mut Node) -> (Sandbox, PathBuf, JoinHandle<Answer>) {
    let go_on = node.path("go-on");
    let calls = node.path("calls");
    let instructions = json!({ "record": calls, "ADD": { "until": go_on } });
    let prepare = |node: &mut Node| {
        fs::create_dir(&calls).expect("the node is new");
        networks::prepare(node)?;
        let conf = networks::fake("slow", &instructions);
        node.add_network("default", "slow", &conf)?;
        node.start_daemon()?;
        let pod = node.add_pod(Pod::new("default", "a").networks("blue,slow"))?;
        let call = node.call("ADD", &pod)?;
        Ok((pod, call))
    };
    let (pod, call) = prepare(node)
        .unwrap_or_else(|error: node::Error| unreachable!("cannot be prepared: {}", error.chain()));
    let adding = thread::spawn(move || call.make().expect("the shim can be executed"));
    // The delegate records its call before it blocks.
    node.until("the second delegate runs", || {
        let mut recorded = fs::read_dir(&calls).expect("it is there");
        recorded.next().is_some()
    });
    (pod, go_on, adding)
}

fn only_the_wire_is_left(node: &Node, pod: &Sandbox) {
    let traces = Traces::of(node, &pod.netns_name).expect("the node can be inspected");
    assert_eq!(traces.node_links, ["storage", "uplink"]);
    assert!(traces.pod_links.is_empty(), "{traces:?}");
    assert!(traces.addresses.is_empty(), "{traces:?}");
    assert!(traces.ledger.is_empty(), "{traces:?}");
}

#[test]
fn next_daemon_deletes_an_interrupted_add() {
    on_a_private_node(|node| {
        let (pod, go_on, adding) = add_that_waits(node);
        node.kill_daemon().unwrap();
        let answer = adding.join().unwrap();
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        fs::write(go_on, "").unwrap();
        node.start_daemon().unwrap();
        let del = node.make("DEL", &pod);
        assert!(del.succeeded(), "{del:#?} {}", node.log());
        only_the_wire_is_left(node, &pod);
    });
}

#[test]
fn stopping_daemon_finishes_running_requests() {
    on_a_private_node(|node| {
        let (pod, go_on, adding) = add_that_waits(node);
        let log = node.path("daemon.log");
        thread::scope(|scope| {
            scope.spawn(|| {
                until("the daemon stops", || {
                    fs::read_to_string(&log).unwrap().contains("shutting down")
                });
                fs::write(go_on, "").unwrap();
            });
            node.stop_daemon().unwrap();
        });
        let answer = adding.join().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
        node.start_daemon().unwrap();
        assert!(node.make("CHECK", &pod).succeeded());
        assert!(node.make("DEL", &pod).succeeded());
        only_the_wire_is_left(node, &pod);
    });
}

#[test]
fn del_after_add_timeout_removes_everything() {
    on_a_private_node(|node| {
        // A shim that gives up looks the same to the daemon.
        node.conf["cnidaria"] = json!({ "shim": { "answerTimeoutMs": 1500 } });
        let (pod, go_on, adding) = add_that_waits(node);
        let answer = adding.join().unwrap();
        assert_eq!(answer.json().unwrap()["code"], 11, "{answer:#?}");
        fs::write(go_on, "").unwrap();
        let del = node.make("DEL", &pod);
        assert!(del.succeeded(), "{del:#?} {}", node.log());
        only_the_wire_is_left(node, &pod);
    });
}

#[test]
fn del_waits_for_orphaned_delegates() {
    on_a_private_node(|node| {
        let (pod, go_on, adding) = add_that_waits(node);
        node.kill_daemon().unwrap();
        assert_eq!(adding.join().unwrap().code, Some(1));
        // The dead daemon's delegate is still running, and will act later.
        node.start_daemon().unwrap();
        let call = node.call("DEL", &pod).unwrap();
        let deleting = thread::spawn(move || call.make().unwrap());
        let other = node.add_pod(Pod::new("default", "b")).unwrap();
        assert!(
            node.make("ADD", &other).succeeded(),
            "other pods do not wait"
        );
        assert!(node.make("DEL", &other).succeeded());
        assert!(!deleting.is_finished());
        fs::write(go_on, "").unwrap();
        let del = deleting.join().unwrap();
        assert!(del.succeeded(), "{del:#?} {}", node.log());
        only_the_wire_is_left(node, &pod);
    });
}

#[test]
fn hung_orphaned_delegate_is_killed() {
    on_a_private_node(|node| {
        node.config["cnidaria"]["timeouts"] = json!({ "shutdownMs": 700 });
        let (pod, _, adding) = add_that_waits(node);
        node.kill_daemon().unwrap();
        assert_eq!(adding.join().unwrap().code, Some(1));
        node.start_daemon().unwrap();
        let del = node.make("DEL", &pod);
        assert!(del.succeeded(), "{del:#?} {}", node.log());
        assert!(del.took >= Duration::from_millis(300), "{del:#?}");
        only_the_wire_is_left(node, &pod);
    });
}

#[test]
fn the_log_level_changes_at_run_time() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.config["logLevel"] = json!("warning");
        node.start_daemon().unwrap();
        let is_logged = |node: &Node, name: &str| {
            let sandbox = node.add_pod(Pod::new("default", name)).unwrap();
            node.succeed("ADD", &sandbox);
            node.log().contains(name)
        };
        assert!(!is_logged(node, "first-pod"));
        node.command_line(&["log", "warning,cnidaria_core=verbose"])
            .unwrap();
        assert!(is_logged(node, "second-pod"), "{}", node.log());
        node.command_line(&["log", "--reset"]).unwrap();
        assert!(!is_logged(node, "third-pod"), "{}", node.log());
        node.command_line(&["log", "loud"]).unwrap_err();
        assert_eq!(node.command_line(&["log"]).unwrap(), "warning\n");
        assert!(node.log().contains("levels were changed"));
    });
}
