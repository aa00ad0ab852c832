//! A recording of real attachments, and what another policy would have done with them.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing fails the test, in its helpers too"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use node::case::on_a_private_node;
use node::{Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

fn pod(node: &Node, name: &str, mtu: u32) -> Sandbox {
    let pod = Pod::new("default", name)
        .networks("blue")
        .annotation("cnidaria.dev/mtu", &format!("blue={mtu}"));
    node.add_pod(pod).unwrap()
}

fn status(node: &Node) -> Value {
    let arguments = ["--output", "json", "policy", "record", "status"];
    serde_json::from_str(&node.command_line(&arguments).unwrap()).unwrap()
}

/// Replays a recording through the module of `annotation-mtu` with these settings.
fn replay(node: &Node, recording: &str, settings: &Value) -> Output {
    let config = json!({ "settings": settings });
    let config = node.write("replay.json", config.to_string()).unwrap();
    Command::new(node.binaries().command_line().unwrap())
        .args(["policy", "replay", recording, "--module"])
        .arg(node.binaries().policy("annotation-mtu").unwrap())
        .arg("--config")
        .arg(config)
        .output()
        .unwrap()
}

#[test]
fn a_changed_policy_is_compared_with_real_adds() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.add_policy(
            "10-mtu",
            "annotation-mtu",
            &json!({ "settings": { "max": 1400 } }),
        )
        .unwrap();
        node.config["cnidaria"]["policies"]["record"] = json!({
            "directory": node.path("record"),
            "redact": { "annotations": ["secret*"] },
        });
        node.start_daemon().unwrap();
        let fits = pod(node, "fits", 1337);
        assert!(node.make("ADD", &fits).succeeded(), "{}", node.log());
        assert!(node.make("CHECK", &fits).succeeded(), "{}", node.log());
        assert!(node.make("DEL", &fits).succeeded(), "{}", node.log());
        assert!(!node.make("ADD", &pod(node, "too-large", 1450)).succeeded());

        let recorded = status(node);
        assert_eq!(recorded["recording"], true, "{recorded:#}");
        assert_eq!(recorded["lost"], 0, "{recorded:#}");
        let mode = |name: &str| node.path(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("record"), 0o700);
        let file = node.path("requests.rec").display().to_string();
        node.command_line(&["policy", "record", "export", &file])
            .unwrap();
        assert_eq!(mode("requests.rec"), 0o600);

        // A daemon that is killed leaves what it recorded.
        node.kill_daemon().unwrap();
        let same = replay(node, &file, &json!({ "max": 1400 }));
        let shown = String::from_utf8_lossy(&same.stdout);
        assert_eq!(same.status.code(), Some(0), "{shown}{same:?}");
        let directory = node.path("record").display().to_string();
        let other = replay(node, &directory, &json!({ "max": 1500 }));
        let shown = String::from_utf8_lossy(&other.stdout);
        assert_eq!(other.status.code(), Some(3), "{shown}{other:?}");
        for line in [
            "default/too-large  before-add net1 default/blue  /conf/mtu: nothing → 1450\n",
            "default/too-large  before-add net1 default/blue  verdict: deny 111 → accept\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
        assert!(shown.ends_with(": 1 would change\n"), "{shown}");
    });
}

const PAGE: &str = include_str!("../../../docs/policies/record-and-replay.md");

/// The blocks of shell commands of the page.
fn commands() -> Vec<&'static str> {
    let blocks = PAGE.split("\n```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect()
}

/// Runs commands of the page in a directory, against the node's daemon.
fn shell(node: &Node, script: &str) -> Output {
    let program = node.binaries().command_line().unwrap();
    let (program, sockets) = (program.display(), node.path("multus"));
    let sockets = sockets.display();
    let function = format!("cnidaria() {{ {program} --socket-dir {sockets} \"$@\"; }}\n");
    Command::new("sh")
        .args(["-euxc", &(function + script)])
        .current_dir(node.path("page"))
        .output()
        .unwrap()
}

#[test]
fn the_commands_of_the_page_work() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.add_policy("10-mtu", "annotation-mtu", &json!({}))
            .unwrap();
        node.config["cnidaria"]["policies"]["record"] = json!({ "directory": node.path("record") });
        node.start_daemon().unwrap();
        let added = node.make("ADD", &pod(node, "web", 1400));
        assert!(added.succeeded(), "{}", node.log());
        let [record, replay] = commands()[..] else {
            panic!("{:?}", commands());
        };
        node.write("page/policy.json", r#"{"settings": {"max": 1300}}"#)
            .unwrap();
        let recorded = shell(node, record);
        assert!(recorded.status.success(), "{recorded:?}");
        let module = node.binaries().policy("annotation-mtu").unwrap();
        std::fs::copy(module, node.path("page/new.wasm")).unwrap();
        let replayed = shell(node, replay);
        let shown = String::from_utf8_lossy(&replayed.stdout);
        assert_eq!(replayed.status.code(), Some(3), "{shown}{replayed:?}");
        let change = "default/web  before-add net1 default/blue  verdict: accept → deny 111\n";
        assert!(shown.contains(change), "{shown}");
    });
}

#[test]
fn recording_needs_the_configuration() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.add_policy("10-mtu", "annotation-mtu", &json!({}))
            .unwrap();
        node.start_daemon().unwrap();
        let refused = node.command_line(&["policy", "record", "start"]);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("cnidaria.policies.record"), "{message}");

        node.stop_daemon().unwrap();
        node.config["cnidaria"]["policies"]["record"] =
            json!({ "directory": node.path("record"), "atStart": false });
        node.start_daemon().unwrap();
        assert_eq!(status(node)["recording"], false);
        node.command_line(&["policy", "record", "start"]).unwrap();
        assert!(node.make("ADD", &pod(node, "a", 1400)).succeeded());
        node.command_line(&["policy", "record", "stop"]).unwrap();
        assert!(node.make("ADD", &pod(node, "b", 1400)).succeeded());
        let recorded = status(node);
        assert_eq!(recorded["recording"], false, "{recorded:#}");
        assert_eq!(recorded["requests"], 1, "{recorded:#}");
    });
}
