//! SIGTERM: not ready at once, what runs is finished within a bound, the rest is told to come later.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// A pod whose second network waits in its ADD until `go-on` exists in the node's directory.
fn prepare(node: &mut Node, shutdown_ms: u64) -> Sandbox {
    let instructions = json!({ "ADD": { "until": node.path("go-on") } });
    node.config["cnidaria"]["timeouts"] = json!({ "shutdownMs": shutdown_ms });
    // Nobody waits for the next daemon.
    node.conf["cnidaria"] = json!({ "shim": { "addConnectTimeoutMs": 1 } });
    let mut prepare = || {
        networks::prepare(node)?;
        node.add_network("default", "slow", &networks::fake("slow", &instructions))?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a").networks("blue,slow"))
    };
    prepare().unwrap_or_else(|error: node::Error| unreachable!("{}", error.chain()))
}

fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "it never came to be");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the ADD of a pod is at its second network.
fn is_under_way(pod: &Sandbox) {
    wait_until(|| {
        let links = inspect::links(Some(&pod.netns_name)).expect("the pod can be inspected");
        let addresses = links.iter().filter(|link| !link.addresses.is_empty());
        addresses.count() == 2
    });
    // The bridge plugin ends a moment after it has set the address.
    thread::sleep(Duration::from_millis(100));
}

#[test]
fn what_runs_too_long_after_sigterm_is_given_up_and_deleted_by_the_next_daemon() {
    on_a_private_node(|node| {
        let pod = prepare(node, 700);
        let call = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || call.make().unwrap());
        is_under_way(&pod);
        // The delegate would never end.
        node.stop_daemon().unwrap();
        let answer = adding.join().unwrap();
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert_eq!(answer.json().unwrap()["code"], 11, "{answer:#?}");

        node.start_daemon().unwrap();
        let deleted = node.call("DEL", &pod).unwrap().make().unwrap();
        assert!(deleted.succeeded(), "{deleted:#?} {}", node.log());
        let traces = Traces::of(node, &pod.netns_name).unwrap();
        assert!(traces.pod_links.is_empty(), "{traces:?}");
        assert!(traces.addresses.is_empty() && traces.ledger.is_empty());
    });
}

/// A request of which the daemon has the first line and nothing else.
fn begin(node: &Node, line: &str) -> UnixStream {
    let mut stream = UnixStream::connect(node.path("multus/multus.sock")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{line} HTTP/1.1\r\n").expect("it reads");
    stream
}

/// Status and body of the answer once the rest is sent.
fn finish(mut stream: UnixStream, body: &str) -> (u16, String) {
    let length = body.len();
    write!(
        stream,
        "Host: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    // It may have closed the connection behind its answer.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

#[test]
fn after_sigterm_the_daemon_is_not_ready_and_tells_what_comes_to_come_again() {
    on_a_private_node(|node| {
        let pod = prepare(node, 20_000);
        let adding = node.call("ADD", &pod).unwrap();
        let go_on = node.path("go-on");
        let socket = node.path("multus/multus.sock");
        let daemon = node.daemon_pid().unwrap().to_string();
        let adding = thread::spawn(move || adding.make().unwrap());
        is_under_way(&pod);
        let [ready, posted] = ["GET /readyz", "POST /cni"].map(|line| begin(node, line));
        // So that both have been read from.
        thread::sleep(Duration::from_millis(200));
        let sent = Command::new("/bin/kill").args(["-TERM", &daemon]).status();
        assert!(sent.unwrap().success());
        wait_until(|| !socket.exists());

        assert_eq!(finish(ready, "").0, 503);
        let (status, body) = finish(posted, r#"{"env":{"CNI_COMMAND":"STATUS"}}"#);
        assert_eq!(status, 503, "{body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(error["code"], 11, "{body}");
        let other = node.add_pod(Pod::new("default", "b")).unwrap();
        let told = node.call("ADD", &other).unwrap().make().unwrap();
        assert_eq!(told.json().unwrap()["code"], 11, "{told:#?}");

        std::fs::write(go_on, "").unwrap();
        let answer = adding.join().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
    });
}
