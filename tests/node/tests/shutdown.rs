//! SIGTERM: the daemon is not ready at once, finishes running requests within a limit, and asks the
//! rest to retry later.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use node::case::on_a_private_node;
use node::inspect::Traces;
use node::{Node, Pod, Sandbox, networks, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// A pod whose second network blocks in ADD until `go-on` exists in the node's directory.
fn prepare(node: &mut Node, shutdown_ms: u64) -> Sandbox {
    let instructions = json!({
        "record": node.path("calls"),
        "ADD": { "until": node.path("go-on") },
    });
    std::fs::create_dir(node.path("calls")).unwrap();
    node.config["cnidaria"]["timeouts"] = json!({ "shutdownMs": shutdown_ms });
    // Calls need not wait for the next daemon.
    node.conf["cnidaria"] = json!({ "shim": { "addConnectTimeoutMs": 1 } });
    let mut prepare = || {
        networks::prepare(node)?;
        node.add_network("default", "slow", &networks::fake("slow", &instructions))?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a").networks("blue,slow"))
    };
    prepare().unwrap_or_else(|error: node::Error| unreachable!("{}", error.chain()))
}

/// Waits until a pod's ADD reaches its second network, whose delegate records its call before it
/// blocks.
fn is_under_way(calls: &Path) {
    let is_called = |name: std::ffi::OsString| name.to_string_lossy().ends_with("-ADD.json");
    until("the second delegate runs", || {
        let mut files = std::fs::read_dir(calls).expect("it is there");
        files.any(|file| is_called(file.expect("it can be listed").file_name()))
    });
}

#[test]
fn add_outlasting_grace_period_is_cancelled() {
    on_a_private_node(|node| {
        let pod = prepare(node, 700);
        let call = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || call.make().unwrap());
        is_under_way(&node.path("calls"));
        // The delegate would never exit.
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

/// Sends only the first line of a request.
fn begin(node: &Node, line: &str) -> UnixStream {
    let mut stream = UnixStream::connect(node.path("multus/multus.sock")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{line} HTTP/1.1\r\n").expect("it reads");
    stream
}

/// Whether the daemon has accepted `connections` and read all that they sent, according to ss(8) of
/// iproute2: its end of a connection is listed once it is accepted.
fn all_is_read(socket: &Path, connections: usize) -> bool {
    let socket = socket.display().to_string();
    let sockets = node::run("ss", &["-xH"]).expect("it lists sockets");
    let accepted = sockets.lines().filter(|line| line.contains(&socket));
    // Kind, state, unread bytes.
    let unread: Vec<_> = accepted
        .map(|line| line.split_whitespace().nth(2))
        .collect();
    unread.len() >= connections && unread.iter().all(|bytes| *bytes == Some("0"))
}

/// Sends the rest of a request; returns the response's status and body.
fn finish(mut stream: UnixStream, body: &str) -> (u16, String) {
    let length = body.len();
    write!(
        stream,
        "Host: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    // The daemon may have closed the connection after its response.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

#[test]
fn daemon_answers_503_after_sigterm() {
    on_a_private_node(|node| ends_in_order(node, "-TERM"));
}

/// Its default action ends a process at once.
#[test]
fn sighup_ends_the_daemon_as_sigterm_does() {
    on_a_private_node(|node| ends_in_order(node, "-HUP"));
}

/// Requests arrive again although socket and directory were removed.
#[test]
fn a_removed_socket_loses_no_request() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("blue"))
            .unwrap();
        let socket = node.path("multus/multus.sock");
        std::fs::remove_file(&socket).unwrap();
        node.until("the socket is bound again", || socket.exists());
        node.succeed("ADD", &pod);
        std::fs::rename(node.path("multus"), node.path("moved")).unwrap();
        node.until("the socket is bound again", || socket.exists());
        node.succeed("CHECK", &pod);
        node.succeed("DEL", &pod);
        let warned = "was removed; bound it again";
        assert_eq!(node.log().matches(warned).count(), 2, "{}", node.log());
        node.stop_daemon().unwrap();
        assert!(!socket.exists());
    });
}

fn ends_in_order(node: &mut Node, signal: &str) {
    let pod = prepare(node, 20_000);
    let adding = node.call("ADD", &pod).unwrap();
    let go_on = node.path("go-on");
    let socket = node.path("multus/multus.sock");
    let daemon = node.daemon_pid().unwrap().to_string();
    let adding = thread::spawn(move || adding.make().unwrap());
    is_under_way(&node.path("calls"));
    let [ready, posted] = ["GET /readyz", "POST /cni"].map(|line| begin(node, line));
    // The ADD's and these two.
    until("the requests are read", || all_is_read(&socket, 3));
    let sent = Command::new("/bin/kill").args([signal, &daemon]).status();
    assert!(sent.unwrap().success());
    until("the socket is gone", || !socket.exists());

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
}
