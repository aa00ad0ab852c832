//! Clients of the socket other than the shim: too large, too slow, too many, or lying.

#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Node, Pod, Sandbox, networks};
use serde_json::json;

/// The daemon's time limit for a client's headers, and again for its body.
const PATIENCE: Duration = Duration::from_secs(10);

fn node_and_pod(node: &mut Node) -> Sandbox {
    let mut prepare = || {
        networks::prepare(node)?;
        // A low limit, so that slow clients would block others if they could.
        node.config["connectionLimit"] = json!(4);
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a"))
    };
    prepare().expect("the node can be prepared")
}

fn connect(node: &Node) -> UnixStream {
    let stream = UnixStream::connect(node.path("multus/multus.sock")).expect("it listens");
    stream
        .set_read_timeout(Some(3 * PATIENCE))
        .expect("a valid time");
    stream
}

/// The whole response; empty when the daemon sends none.
fn answer(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    // A daemon that rejects the rest of a request resets the connection.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn post(node: &Node, body: &str) -> String {
    let mut stream = connect(node);
    write!(
        stream,
        "POST /cni HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    answer(stream)
}

#[test]
fn oversized_body_is_rejected_before_its_end() {
    on_a_private_node(|node| {
        node_and_pod(node);
        let mut stream = connect(node);
        write!(
            stream,
            "POST /cni HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .unwrap();
        let mebibyte = vec![b' '; 1 << 20];
        let mut sent = 0;
        while sent < 64 {
            let chunk = write!(stream, "100000\r\n")
                .and_then(|()| stream.write_all(&mebibyte))
                .and_then(|()| write!(stream, "\r\n"));
            if chunk.is_err() {
                break;
            }
            sent += 1;
        }
        assert!(sent < 64, "all of {sent} MiB were taken");
        assert!(answer(stream).starts_with("HTTP/1.1 413"));
    });
}

#[test]
fn slow_clients_time_out() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let start = Instant::now();
        let slow = ["", "POST /cni HTTP/1.1\r\nHost:", "GET"].map(|beginning| {
            let mut stream = connect(node);
            write!(stream, "{beginning}").unwrap();
            stream
        });
        let mut body = connect(node);
        write!(
            body,
            "POST /cni HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{{"
        )
        .unwrap();
        // All connections are in use; this one waits for the first to be cut off.
        let call = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || call.make().unwrap());
        assert!(answer(body).starts_with("HTTP/1.1 408"));
        for stream in slow {
            let said = answer(stream);
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        }
        assert!(start.elapsed() < 2 * PATIENCE, "{:?}", start.elapsed());
        let answer = adding.join().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
    });
}

#[test]
fn path_traversal_names_are_rejected() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let traces = || Traces::of(node, &pod.netns_name).unwrap();
        let before = (traces(), inspect::files(&node.path("status")).unwrap());
        let env = |name: &str, value: &str| {
            let mut env = json!({
                "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0",
                "CNI_NETNS": pod.netns(), "CNI_PATH": node.plugins(),
                "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a",
            });
            env[name] = json!(value);
            json!({ "env": env, "config": "e30=" }).to_string()
        };
        for (name, value) in [
            ("CNI_CONTAINERID", "../x"),
            ("CNI_CONTAINERID", ".undo"),
            ("CNI_CONTAINERID", "results/x"),
            ("CNI_CONTAINERID", ""),
            ("CNI_IFNAME", "../eth0"),
            ("CNI_IFNAME", "a/b"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=..;K8S_POD_NAME=a"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=../../x"),
        ] {
            let said = post(node, &env(name, value));
            assert!(said.starts_with("HTTP/1.1 400"), "{name}={value}: {said}");
            assert!(said.contains("\"code\":"), "{name}={value}: {said}");
        }
        let after = (traces(), inspect::files(&node.path("status")).unwrap());
        assert_eq!(after, before);
    });
}
