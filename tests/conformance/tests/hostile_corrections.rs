//! Where Multus trusts hostile input: the last three corrections listed in the README of the
//! recordings, by number.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::rig::Rig;
use conformance::{exchange, observe};
use node::case::on_a_private_node;
use serde_json::{Value, json};

#[test]
fn correction_13_socket_input_is_validated() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let life = rig.life("plain");
        let witness = rig.node.write("x", "another user's").unwrap();
        let names = |rig: &Rig<'_>| -> BTreeSet<OsString> {
            let entries = fs::read_dir(rig.node.path("")).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        let before = names(&rig);
        let hostile = [
            ("CNI_CONTAINERID", "../x"),
            ("CNI_CONTAINERID", ""),
            ("CNI_CONTAINERID", "a/b"),
            ("CNI_NETNS", "relative"),
            ("CNI_IFNAME", "../../x"),
            ("CNI_IFNAME", "much-too-long-a-name"),
            ("CNI_COMMAND", "FROB"),
        ];
        for (name, value) in hostile {
            for step in ["add", "del"] {
                let mut env = life[step]["env"].clone();
                env[name] = json!(value);
                let conf = life[step]["stdin"].as_str().unwrap();
                let body = json!({"env": env, "config": STANDARD.encode(conf)});
                let (status, answer) = exchange::post(&rig.socket(), "/cni", &body);
                if (step, name) == ("del", "CNI_NETNS") {
                    // A DEL needs no namespace, and none is entered by this path.
                    assert_eq!(status, 200, "{answer}");
                    continue;
                }
                assert_eq!(status, 400, "{step} {name}={value}: {answer}");
                let error: Value = serde_json::from_str(&answer).unwrap();
                assert_eq!(error["code"], 4, "{step} {name}={value}: {answer}");
                assert!(answer.contains(name), "{step} {name}={value}: {answer}");
            }
        }
        assert_eq!(fs::read_to_string(witness).unwrap(), "another user's");
        assert_eq!(names(&rig), before);
        assert_eq!(observe::ledger(rig.node), json!({}));
    });
}

#[test]
fn correction_14_delegates_are_limited() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        rig.node.config["cnidaria"]["timeouts"] = json!({"delegateMs": 500});
        rig.node.start_daemon().unwrap();
        rig.make_namespace("g-bad-failing");
        let recorded = rig.golden("lifecycle/bad-failing.json");

        rig.install("fail", &json!({"ADD": {"hang": true}}));
        let start = Instant::now();
        let answer = rig.replay(&recorded["add"]);
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert!(answer.stdout.contains("default/failing"), "{answer:#?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{answer:#?}");
        rig.nothing_is_left_of("bad-failing");

        rig.install("fail", &json!({"ADD": {"spew": 1_u64 << 30}}));
        let answer = rig.replay(&recorded["add"]);
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        rig.nothing_is_left_of("bad-failing");
        rig.calls();

        // Multus' shim sends its whole environment.
        let mut env = recorded["add"]["env"].clone();
        env["SECRET"] = json!("of the runtime");
        env["LD_PRELOAD"] = json!("/somewhere.so");
        rig.install("fail", &json!({}));
        let conf = recorded["add"]["stdin"].as_str().unwrap();
        let body = json!({"env": env, "config": STANDARD.encode(conf)});
        let (status, answer) = exchange::post(&rig.socket(), "/cni", &body);
        assert_eq!(status, 200, "{answer}");
        let names: Vec<String> = rig.calls()[0]["env"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let expected = [
            "CNI_ARGS",
            "CNI_COMMAND",
            "CNI_CONTAINERID",
            "CNI_IFNAME",
            "CNI_NETNS",
            "CNI_PATH",
            "PATH",
        ];
        assert_eq!(names, expected);

        let large = "x".repeat(32 << 20);
        let body = json!({"env": recorded["add"]["env"], "config": large});
        let (status, answer) = exchange::post(&rig.socket(), "/cni", &body);
        assert!((400..=413).contains(&status), "{status} {answer}");
        rig.succeed(&recorded["del"]);
        rig.nothing_is_left_of("bad-failing");
    });
}

#[test]
fn correction_15_only_stale_socket_is_removed() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        let others = rig.node.write("run/others", "keep").unwrap();
        // Left behind by a killed daemon.
        drop(UnixListener::bind(rig.socket()).unwrap());
        rig.node.start_daemon().unwrap();
        assert_eq!(fs::read_to_string(&others).unwrap(), "keep");
        let life = rig.life("plain");
        rig.succeed(&life["add"]);
        rig.succeed(&life["del"]);
        rig.node.stop_daemon().unwrap();
        assert_eq!(fs::read_to_string(&others).unwrap(), "keep");
    });
}
