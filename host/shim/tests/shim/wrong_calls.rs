//! Invalid calls fail without contacting a daemon, so nothing can change.

use crate::rig::{Node, Output, execute, go};
use serde_json::json;
use std::process::Command;

/// Checks that the call fails before connecting, with `code` and a message containing all `words`.
fn check_refused(node: &Node, output: Output, code: u64, words: &[&str]) {
    let failure = output.failure();
    assert_eq!(failure.code, code, "{failure:?}");
    let text = format!("{} {}", failure.msg, failure.details);
    for word in words {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
    let received = node.socket_dir().join("multus.sock");
    assert!(!received.exists(), "these tests have no daemon");
}

fn check(node: &Node, code: u64, words: &[&str]) {
    check_refused(node, node.run(), code, words);
}

#[test]
fn a_missing_variable_is_named() {
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
        for command in ["ADD", "CHECK"] {
            let expected = format!("required env variables [{name}] missing");
            check(&Node::call(command).with(name, ""), 4, &[&expected]);
        }
    }
}

#[test]
fn one_error_lists_all_bad_variables() {
    let node = Node::call("ADD")
        .with("CNI_NETNS", "")
        .with("CNI_PATH", "")
        .with("CNI_CONTAINERID", "../../etc/x")
        .with("CNI_IFNAME", "a name");
    check(
        &node,
        4,
        &[
            "[CNI_NETNS,CNI_PATH] missing",
            "CNI_CONTAINERID",
            "../../etc/x",
            "CNI_IFNAME",
            "a name",
        ],
    );
}

#[test]
fn an_unknown_command_is_named() {
    check(&Node::call("FROB"), 4, &["unknown CNI_COMMAND: FROB"]);
    check(&Node::call("add"), 4, &["unknown CNI_COMMAND: add"]);
}

#[test]
fn a_person_without_a_command_reads_what_it_is() {
    let output = Node::call("").run();
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    assert!(
        output.stderr.contains("CNI plugin cnidaria-shim v"),
        "{output:?}"
    );
    assert!(output.stderr.contains("0.1.0, 0.2.0"), "{output:?}");
    assert!(output.stderr.contains("--help"), "{output:?}");
}

#[test]
fn a_variable_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let output = execute(
        Command::new(env!("CARGO_BIN_EXE_cnidaria-shim"))
            .env_clear()
            .env("CNI_COMMAND", "ADD")
            .env("CNI_ARGS", std::ffi::OsStr::from_bytes(b"A=\xff"))
            .env("OTHER", std::ffi::OsStr::from_bytes(b"\xff")),
        b"",
    );
    let failure = output.failure();
    assert_eq!(failure.code, 4);
    assert_eq!(
        failure.msg,
        "env variables [CNI_ARGS] are not UTF-8; \
         required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"
    );
}

#[test]
fn non_object_stdin_is_a_decoding_failure() {
    for stdin in [
        "",
        " \n",
        "{nope",
        "[]",
        "\"text\"",
        "{} {}",
        "{\"a\":\"\u{0}\"}",
    ] {
        let node = Node::call("ADD");
        let output = node.run_with(stdin.as_bytes());
        check_refused(&node, output, 6, &[]);
    }
    let node = Node::call("ADD");
    let output = node.run_with(b"{\"name\":\"\xff\"}");
    check_refused(&node, output, 6, &[]);
}

#[test]
fn a_configuration_that_is_too_large_is_refused() {
    let node = Node::call("ADD");
    let output = node.run_with(&vec![b' '; (8 << 20) + 1]);
    check_refused(&node, output, 7, &["larger than 8388608 bytes"]);
}

#[test]
fn unsupported_version_error_matches_go() {
    let failure = Node::call("ADD")
        .with_conf("cniVersion", json!("9.9.9"))
        .run()
        .failure();
    assert_eq!(failure.code, 1);
    assert_eq!(failure.msg, "incompatible CNI versions");
    assert_eq!(
        failure.details,
        "config is \"9.9.9\", plugin supports [\"0.1.0\" \"0.2.0\" \"0.3.0\" \"0.3.1\" \
         \"0.4.0\" \"1.0.0\" \"1.1.0\"]"
    );
    let node = Node::call("ADD").with_conf("cniVersion", json!("one"));
    check(&node, 1, &["\"one\""]);
}

#[test]
fn a_del_does_without_most_of_its_conf() {
    for (key, value) in [
        ("cniVersion", json!("9.9.9")),
        ("cniVersion", json!(1.1)),
        ("name", json!(null)),
        ("name", json!("../x")),
        ("cniDir", json!(5)),
        ("cnidaria", json!("x")),
        ("cnidaria", json!({"shim": {"answerTimoutMs": 10}})),
    ] {
        let node = Node::call("DEL").with_conf(key, value.clone());
        let daemon = node.daemon(vec![go(200, "application/json", "{}")]);
        assert_eq!(node.run().success(), "", "{key}: {value}");
        let sent = daemon.the_request().request();
        let sent: serde_json::Value = serde_json::from_slice(&sent.config).unwrap();
        assert_eq!(sent[key], value, "{key}");
    }
}

#[test]
fn a_del_does_without_most_of_its_environment() {
    for (name, value) in [
        ("CNI_PATH", ""),
        ("CNI_NETNS", "relative"),
        ("CNI_ARGS", "K8S_POD_NAME=a;"),
        ("CNI_ARGS", "nonsense"),
    ] {
        let node = Node::call("DEL").with(name, value);
        let daemon = node.daemon(vec![go(200, "application/json", "{}")]);
        assert_eq!(node.run().success(), "", "{name}: {value}");
        daemon.the_request();
    }
}

#[test]
fn a_del_without_its_ledger_is_not_recorded() {
    let node = Node::call("DEL").with_conf("cniDir", json!(5));
    assert_eq!(node.run().failure().code, 11);
}

#[test]
fn conf_version_without_command_is_rejected() {
    for (command, version) in [
        ("STATUS", "1.0.0"),
        ("GC", "1.0.0"),
        ("CHECK", "0.3.1"),
        ("CHECK", ""),
    ] {
        let failure = Node::call(command)
            .with_conf("cniVersion", json!(version))
            .run()
            .failure();
        assert_eq!(failure.code, 1);
        assert_eq!(
            failure.msg,
            format!("config version does not allow {command}")
        );
        let expected = if version.is_empty() { "0.1.0" } else { version };
        assert_eq!(failure.version, expected);
    }
}

#[test]
fn a_network_name_is_needed() {
    check(
        &Node::call("ADD").with_conf("name", json!(null)),
        7,
        &["missing network name"],
    );
    check(
        &Node::call("ADD").with_conf("name", json!("")),
        7,
        &["missing network name"],
    );
    check(
        &Node::call("ADD").with_conf("name", json!("../x")),
        7,
        &["network name", "../x"],
    );
}

#[test]
fn wrong_type_error_names_key_and_type() {
    for (key, value, words) in [
        ("cniVersion", json!(1.1), ["\"cniVersion\"", "1.1"]),
        ("name", json!(["a"]), ["\"name\"", "a list"]),
        ("daemonSocketDir", json!(5), ["\"daemonSocketDir\"", "5"]),
        ("cnidaria", json!("x"), ["\"cnidaria\"", "a string"]),
        ("cnidaria", json!({"shim": 3}), ["\"cnidaria.shim\"", "3"]),
        (
            "cnidaria",
            json!({"shim": {"addConnectTimeoutMs": -1}}),
            ["\"cnidaria.shim.addConnectTimeoutMs\"", "-1"],
        ),
        (
            "cnidaria",
            json!({"shim": {"answerTimeoutMs": "10s"}}),
            ["\"cnidaria.shim.answerTimeoutMs\"", "a string"],
        ),
        (
            "cnidaria",
            json!({"shim": {"answerTimoutMs": 10}}),
            ["\"answerTimoutMs\"", "\"cnidaria.shim\""],
        ),
    ] {
        check(&Node::call("ADD").with_conf(key, value), 7, &words);
    }
}

#[test]
fn a_refused_value_is_cut_short() {
    let failure = Node::call("ADD")
        .with_conf("daemonSocketDir", json!(vec!["ä"; 10_000]))
        .run()
        .failure();
    assert_eq!(failure.code, 7);
    assert!(failure.msg.len() < 500, "{}", failure.msg.len());
}

#[test]
fn adding_the_nodes_own_namespace_is_refused() {
    let node = Node::call("ADD").with("CNI_NETNS", "/proc/self/ns/net");
    check(&node, 8, &["CNI_NETNS", "/proc/self/ns/net"]);
    // With the override, it gets as far as connecting to the missing daemon.
    let node = node.with("CNI_NETNS_OVERRIDE", "1");
    assert_eq!(node.run().failure().code, 11);
}

#[test]
fn version_replies_in_the_requested_version() {
    for (stdin, expected) in [
        (r#"{"cniVersion":"1.1.0"}"#, "1.1.0"),
        (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
        (r#"{"cniVersion":"9.9.9"}"#, "1.1.0"),
        ("", "1.1.0"),
        ("{nope", "1.1.0"),
    ] {
        let output = execute(
            Command::new(env!("CARGO_BIN_EXE_cnidaria-shim"))
                .env_clear()
                .env("CNI_COMMAND", "VERSION"),
            stdin.as_bytes(),
        );
        assert_eq!(
            output.success(),
            format!(
                "{{\"cniVersion\":\"{expected}\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\
                 \"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}}\n"
            )
        );
    }
}

#[test]
fn version_does_not_wait_for_stdin() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cnidaria-shim"))
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // `wait` would close the pipe.
    let pipe = child.stdin.take();
    assert!(child.wait().unwrap().success());
    drop(pipe);
}

#[test]
fn command_line_has_only_version_and_help() {
    let run = |argument: &str| {
        execute(
            Command::new(env!("CARGO_BIN_EXE_cnidaria-shim")).arg(argument),
            b"",
        )
    };
    for argument in ["--version", "-version", "-v"] {
        let expected = format!("cnidaria-shim {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(run(argument).success(), expected);
    }
    for argument in ["--help", "-h"] {
        assert!(run(argument).success().contains("Usage: cnidaria-shim"));
    }
    let output = run("--frob");
    assert_eq!(output.exit, Some(2));
    assert!(output.stderr.starts_with("unknown argument --frob\n"));
}
