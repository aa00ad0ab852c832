//! Daemons that are down, late, rejecting, hanging or dying: only ADD waits, no request that may
//! have started is sent twice, and every wait ends.

use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::{Daemon, NO_WAIT, Node, go, result};
use serde_json::json;

const RESULT: &str = r#"{"cniVersion":"1.1.0"}"#;
const LONG: Duration = Duration::from_secs(60);

/// A call whose ADD waits up to `patience`.
fn patient(command: &str, patience: Duration) -> Node {
    let shim = json!({"addConnectTimeoutMs": patience.as_millis()});
    Node::call(command).with_conf("cnidaria", json!({"shim": shim}))
}

#[test]
fn only_add_waits_for_a_missing_daemon() {
    for (command, code) in [("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
        let node = patient(command, LONG);
        let start = Instant::now();
        let failure = node.run().failure();
        assert!(start.elapsed() < NO_WAIT, "{command}");
        assert_eq!(failure.code, code, "{command}");
        let socket = node.socket_dir().join("multus.sock");
        assert!(
            failure.msg.contains(socket.to_str().unwrap()),
            "{failure:?}"
        );
    }
}

#[test]
fn a_stale_socket_counts_as_an_absent_daemon() {
    let node = Node::call("DEL");
    drop(UnixListener::bind(node.socket_dir().join("multus.sock")).unwrap());
    let failure = node.run().failure();
    assert_eq!(failure.code, 11);
    assert!(failure.details.contains("refused"), "{failure:?}");
}

#[test]
fn add_gives_up_after_its_time() {
    let node = patient("ADD", Duration::from_millis(300));
    let start = Instant::now();
    let failure = node.run().failure();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(failure.code, 11);
    assert!(failure.details.starts_with("waited 3"), "{failure:?}");
}

#[test]
fn add_waits_for_a_daemon_that_restarts() {
    let node = patient("ADD", LONG);
    let dir = node.socket_dir();
    // The stale socket of a previous daemon.
    drop(UnixListener::bind(dir.join("multus.sock")).unwrap());
    let restart = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        std::fs::remove_file(dir.join("multus.sock")).unwrap();
        thread::sleep(Duration::from_millis(300));
        Daemon::start(&dir, vec![result(RESULT)])
    });
    node.run().success();
    let daemon = restart.join().unwrap();
    assert_eq!(daemon.the_request().request().env["CNI_COMMAND"], "ADD");
}

#[test]
fn add_is_retried_after_503() {
    let node = patient("ADD", LONG);
    let body = r#"{"code":11,"msg":"shutting down"}"#;
    let daemon = node.daemon(vec![go(503, "application/json", body), result(RESULT)]);
    node.run().success();
    assert_eq!(daemon.received().len(), 2);
}

#[test]
fn lasting_503_reports_the_daemons_message() {
    let node = Node::call("ADD");
    let body = r#"{"code":11,"msg":"shutting down"}"#;
    let _daemon = node.daemon(vec![go(503, "application/json", body)]);
    let failure = node.run().failure();
    assert_eq!((failure.code, failure.msg.as_str()), (11, "shutting down"));

    let node = Node::call("DEL");
    let daemon = node.daemon(vec![
        go(503, "text/plain", "busy"),
        go(200, "text/plain", ""),
    ]);
    let failure = node.run().failure();
    assert_eq!((failure.code, failure.details.as_str()), (11, "busy"));
    assert_eq!(daemon.received().len(), 1, "only ADD is repeated");
}

#[test]
fn failed_add_is_not_retried_even_on_code_11() {
    let node = patient("ADD", LONG);
    let body = r#"{"code":11,"msg":"the pod is not there yet"}"#;
    let daemon = node.daemon(vec![go(400, "application/json", body), result(RESULT)]);
    assert_eq!(node.run().failure().code, 11);
    assert_eq!(daemon.received().len(), 1);
}

#[test]
fn lost_connection_is_not_retried() {
    for (command, code) in [("ADD", 11), ("DEL", 11), ("STATUS", 50)] {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        ] {
            let node = patient(command, LONG);
            let daemon = node.daemon(vec![answer.into(), result(RESULT)]);
            let failure = node.run().failure();
            assert_eq!(failure.code, code, "{command} {answer:?}");
            assert!(
                failure.msg.contains("no answer from the daemon"),
                "{failure:?}"
            );
            assert!(failure.details.contains("connection"), "{failure:?}");
            assert_eq!(daemon.received().len(), 1, "{command} {answer:?}");
        }
    }
}

#[test]
fn early_close_is_an_error_and_not_sigpipe() {
    let node = Node::call("DEL").with_conf("padding", json!("x".repeat(4 << 20)));
    let listener = UnixListener::bind(node.socket_dir().join("multus.sock")).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
    });
    let failure = node.run().failure();
    daemon.join().unwrap();
    assert_eq!(failure.code, 11);
    assert!(failure.details.contains("bytes were"), "{failure:?}");
}

#[test]
fn a_daemon_that_never_answers_is_given_up() {
    for (command, code) in [("ADD", 11), ("DEL", 11), ("STATUS", 50)] {
        let shim = json!({"addConnectTimeoutMs": 60_000, "answerTimeoutMs": 200});
        let node = Node::call(command).with_conf("cnidaria", json!({"shim": shim}));
        let _listener = UnixListener::bind(node.socket_dir().join("multus.sock")).unwrap();
        let start = Instant::now();
        let failure = node.run().failure();
        assert!(start.elapsed() < NO_WAIT);
        assert_eq!(failure.code, code, "{command}");
        assert_eq!(failure.details, "the daemon did not answer in time");
    }
}

#[test]
fn invalid_socket_directory_fails_at_once() {
    let node = patient("ADD", LONG);
    let file = node.socket_dir().join("file");
    std::fs::write(&file, "").unwrap();
    let node = node.with_conf("daemonSocketDir", json!(file));
    let start = Instant::now();
    let failure = node.run().failure();
    assert!(start.elapsed() < NO_WAIT);
    assert_eq!(failure.code, 5);
    assert!(failure.details.contains("Not a directory"), "{failure:?}");
}
