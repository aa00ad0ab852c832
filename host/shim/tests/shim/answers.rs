//! Responses in every form used by Multus' daemon and ours, and the requests sent.

use crate::rig::{Node, go, go_chunked, result};
use serde_json::json;

/// As printed by Multus' daemon for `bridge` with `host-local`.
const RESULT: &str = r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"52:58:fd:3c:a5:b3","name":"peer0"},{"mac":"8e:b5:8a:60:13:82","mtu":1450,"name":"eth0","sandbox":"/run/netns/g-plain"}],"ips":[{"address":"10.77.0.14/16","gateway":"10.77.0.1","interface":1}],"routes":[{"dst":"0.0.0.0/0"}]}"#;

#[test]
fn request_has_only_cni_variables_and_raw_stdin() {
    let node = Node::call("DEL")
        .with("HOME", "/root")
        .with("AWS_SECRET", "x");
    let daemon = node.daemon(vec![go(200, "text/plain", "")]);
    let stdin = format!(
        "{{ \"name\":\"n\",\"cniVersion\":\"1.0.0\",\n\t\"daemonSocketDir\":{:?},\"big\":1e400,\"n\":98765432109876543210 }}\n",
        node.socket_dir()
    );
    assert_eq!(node.run_with(stdin.as_bytes()).success(), "");

    let received = daemon.the_request();
    assert!(received.head.starts_with("POST /cni HTTP/1.1\r\nHost: "));
    let request = received.request();
    assert_eq!(request.config, stdin.as_bytes());
    let names: Vec<_> = request.env.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "CNI_ARGS",
            "CNI_COMMAND",
            "CNI_CONTAINERID",
            "CNI_IFNAME",
            "CNI_NETNS",
            "CNI_PATH"
        ]
    );
    assert_eq!(request.env["CNI_COMMAND"], "DEL");
}

#[test]
fn the_runtimes_trace_context_is_forwarded() {
    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let long = "0".repeat(1000);
    // What is not a context is the daemon's to judge, unless it is far too long for one.
    let longer = "0".repeat(5000);
    for (variable, given, expected) in [
        ("TRACEPARENT", CONTEXT, Some(CONTEXT)),
        ("TRACEPARENT", "x", Some("x")),
        ("TRACEPARENT", "", None),
        ("TRACEPARENT", &long, None),
        ("TRACESTATE", "congo=t61", Some("congo=t61")),
        ("TRACESTATE", &long, Some(&long)),
        ("TRACESTATE", "", None),
        ("TRACESTATE", &longer, None),
    ] {
        let node = Node::call("DEL")
            .with(variable, given)
            .with("TRACEPARENTS", "x");
        let daemon = node.daemon(vec![go(200, "text/plain", "")]);
        node.run().success();
        let request = daemon.the_request().request();
        let forwarded = request.env.get(variable).map(String::as_str);
        assert_eq!(forwarded, expected, "{variable}={given}");
        assert!(!request.env.contains_key("TRACEPARENTS"));
    }
}

#[test]
fn a_result_is_printed_as_plugins_do() {
    let node = Node::call("ADD");
    let _daemon = node.daemon(vec![result(RESULT)]);
    assert_eq!(
        node.run().success(),
        r#"{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "mac": "52:58:fd:3c:a5:b3",
            "name": "peer0"
        },
        {
            "mac": "8e:b5:8a:60:13:82",
            "mtu": 1450,
            "name": "eth0",
            "sandbox": "/run/netns/g-plain"
        }
    ],
    "ips": [
        {
            "address": "10.77.0.14/16",
            "gateway": "10.77.0.1",
            "interface": 1
        }
    ],
    "routes": [
        {
            "dst": "0.0.0.0/0"
        }
    ]
}"#
    );
}

#[test]
fn result_is_printed_in_conf_version() {
    for (version, expected) in [
        (
            "0.3.1",
            json!({
                "cniVersion": "0.3.1",
                "interfaces": [
                    {"name": "peer0", "mac": "52:58:fd:3c:a5:b3"},
                    {"name": "eth0", "mac": "8e:b5:8a:60:13:82", "sandbox": "/run/netns/g-plain"},
                ],
                "ips": [{"version": "4", "interface": 1, "address": "10.77.0.14/16", "gateway": "10.77.0.1"}],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dns": {},
            }),
        ),
        (
            "0.2.0",
            json!({
                "cniVersion": "0.2.0",
                "ip4": {"ip": "10.77.0.14/16", "gateway": "10.77.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
                "dns": {},
            }),
        ),
    ] {
        let node = Node::call("ADD").with_conf("cniVersion", json!(version));
        let _daemon = node.daemon(vec![result(RESULT)]);
        let printed: serde_json::Value = serde_json::from_str(&node.run().success()).unwrap();
        assert_eq!(printed, expected);
    }
}

#[test]
fn a_long_result_in_chunks_is_put_together() {
    let routes: Vec<_> = (0..200)
        .map(|n| json!({"dst": format!("10.0.{n}.0/24")}))
        .collect();
    let long = json!({"cniVersion": "1.1.0", "routes": routes});
    let node = Node::call("ADD");
    let _daemon = node.daemon(vec![go_chunked(200, &json!({"Result": long}).to_string())]);
    let printed: serde_json::Value = serde_json::from_str(&node.run().success()).unwrap();
    assert_eq!(printed, long);
}

#[test]
fn verbs_without_a_result_print_nothing() {
    for command in ["DEL", "CHECK", "GC", "STATUS"] {
        for body in [
            "",
            "{}",
            r#"{"Result":null}"#,
            &format!(r#"{{"Result":{RESULT}}}"#),
        ] {
            let node = Node::call(command);
            let _daemon = node.daemon(vec![go(200, "text/plain", body)]);
            assert_eq!(node.run().success(), "", "{command} {body}");
        }
    }
}

#[test]
fn daemon_error_is_printed_in_conf_version() {
    let node = Node::call("ADD").with_conf("cniVersion", json!("1.0.0"));
    let body = r#"{"code":103,"msg":"policy address-guard denied","details":"10.0.0.9"}"#;
    let _daemon = node.daemon(vec![go(400, "application/json", body)]);
    let output = node.run();
    assert_eq!(
        output.stdout,
        "{\n    \"cniVersion\": \"1.0.0\",\n    \"code\": 103,\n    \
         \"msg\": \"policy address-guard denied\",\n    \"details\": \"10.0.0.9\"\n}"
    );
    assert_eq!(output.exit, Some(1));
    assert_eq!(output.stderr, "");
}

#[test]
fn no_error_is_swallowed_by_any_verb() {
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let node = Node::call(command);
        let body = r#"{"code":51,"msg":"limited"}"#;
        let _daemon = node.daemon(vec![go(400, "application/json", body)]);
        assert_eq!(node.run().failure().code, 51, "{command}");
    }
}

#[test]
fn multus_plain_text_error_is_kept() {
    let node = Node::call("ADD");
    let text = "could not extract the CNI command args: missing CNI_ARGS\n";
    let _daemon = node.daemon(vec![go(400, "text/plain; charset=utf-8", text)]);
    let failure = node.run().failure();
    assert_eq!(failure.code, 999);
    assert_eq!(failure.msg, "the daemon answered with HTTP status 400");
    assert_eq!(failure.details, text.trim());
}

#[test]
fn an_add_without_a_result_fails() {
    for body in ["", r#"{"Result":null}"#] {
        let node = Node::call("ADD");
        let _daemon = node.daemon(vec![go(200, "text/plain", body)]);
        let failure = node.run().failure();
        assert_eq!(failure.code, 6);
        assert_eq!(failure.msg, "the daemon answered ADD without a result");
    }
}

#[test]
fn inexpressible_result_is_an_error() {
    let node = Node::call("ADD").with_conf("cniVersion", json!("0.2.0"));
    let _daemon = node.daemon(vec![result(r#"{"cniVersion":"1.1.0"}"#)]);
    let failure = node.run().failure();
    assert_eq!(failure.code, 6);
    assert_eq!(failure.version, "0.2.0");
    assert!(failure.msg.contains("0.2.0"), "{failure:?}");
}

#[test]
fn malformed_answers_cannot_be_decoded() {
    for answer in [
        b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
        go(200, "text/html", "<html>"),
        result(r#"{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.300/24"}]}"#),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
    ] {
        let node = Node::call("ADD");
        let _daemon = node.daemon(vec![answer]);
        assert_eq!(node.run().failure().code, 6);
    }
}
