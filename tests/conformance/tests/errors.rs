//! Replays `errors/`: delegates that return errors, daemons that fail to start, and the endpoint
//! for running pods.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::rig::Rig;
use conformance::{compare, exchange, golden, normal, observe};
use node::case::on_a_private_node;
use node::{Answer, Node, inspect, run};
use serde_json::{Value, json};

/// A daemon that fails to start exits within this time; one that runs longer has started.
const STARTED: Duration = Duration::from_secs(3);

/// How an execution of the daemon ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was still running at the limit.
    Runs,
    /// It exited with this code.
    Code(i32),
}

impl End {
    fn recorded(recorded: &Value) -> Self {
        match recorded["exit"].as_i64() {
            Some(code) => Self::Code(code as i32),
            None => Self::Runs,
        }
    }
}

/// Executes the daemon; returns how it ended and its output.
fn daemon(node: &Node, arguments: &[&str]) -> (End, String) {
    let mut child = Command::new(node.binaries().daemon().unwrap())
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let end = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break End::Code(status.code().unwrap());
        }
        if start.elapsed() > STARTED {
            child.kill().unwrap();
            child.wait().unwrap();
            break End::Runs;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (end, said)
}

/// A recorded daemon start: the change to its file, and the words its output must contain.
struct Start {
    name: &'static str,
    change: fn(&mut Value),
    words: &'static [&'static str],
}

const fn start(
    name: &'static str,
    change: fn(&mut Value),
    words: &'static [&'static str],
) -> Start {
    Start {
        name,
        change,
        words,
    }
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().unwrap().remove(key);
}

#[rustfmt::skip]
const STARTS: [Start; 9] = [
    start("daemon-connlimit0", |file| file["connectionLimit"] = json!(0), &["connectionLimit", "0"]),
    start("daemon-empty-autodir", |file| file["multusAutoconfigDir"] = json!("/run/node/empty"), &[]),
    start("daemon-no-cniversion", |file| remove(file, "cniVersion"), &["cniVersion"]),
    start("daemon-no-kube-env", |file| remove(file, "cnidaria"), &[]),
    start("daemon-noautodir", |file| file["multusAutoconfigDir"] = json!("/nonexistent"), &["/nonexistent"]),
    start("daemon-primary-031-vs-1.0", |file| file["cniVersion"] = json!("1.0.0"), &[]),
    start("daemon-readiness-missing", |file| file["readinessindicatorfile"] = json!("/nonexistent/file"), &[]),
    start("daemon-unknown-key", |file| file["bogus"] = json!(1), &["bogus"]),
    start("daemon-wrongtype", |file| file["socketDir"] = json!(7), &["socketDir", "7"]),
];

/// The configuration of the recorded daemons.
fn daemon_file(rig: &Rig<'_>) -> Value {
    let mut file = rig.node.config.clone();
    file["multusAutoconfigDir"] = json!(rig.node.path("autoconf"));
    file
}

#[test]
fn startup_failures_exit_like_multus() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        fs::create_dir(rig.node.path("empty")).unwrap();
        let old = rig.golden("inputs/10-bridge.conflist").to_string();
        for case in &STARTS {
            if case.name == "daemon-primary-031-vs-1.0" {
                let old = old.replace("1.0.0", "0.3.1");
                rig.node.write("autoconf/10-bridge.conflist", old).unwrap();
            }
            let mut file = daemon_file(&rig);
            (case.change)(&mut file);
            let path = rig
                .node
                .write("daemon-config.json", file.to_string())
                .unwrap();
            let (end, said) = daemon(rig.node, &["-config", path.to_str().unwrap()]);
            let recorded = rig.golden(&format!("errors/{}.json", case.name));
            assert_eq!(end, End::recorded(&recorded), "{}: {said}", case.name);
            for word in case.words {
                assert!(
                    said.contains(word),
                    "{}: {word} is missing: {said}",
                    case.name
                );
            }
        }
    });
}

#[test]
fn bad_file_or_arguments_exit_like_multus() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        let bad = rig.node.write("bad.json", "{nope").unwrap();
        let bad = bad.to_str().unwrap();
        for (name, arguments, word) in [
            ("daemon-badjson", vec!["-config", bad], bad),
            (
                "daemon-missing-file",
                vec!["-config", "/nonexistent.json"],
                "/nonexistent.json",
            ),
            ("daemon-unknown-flag", vec!["-bogus"], "-bogus"),
            ("daemon-version", vec!["-version"], "version"),
        ] {
            let (end, said) = daemon(rig.node, &arguments);
            let recorded = rig.golden(&format!("errors/{name}.json"));
            assert_eq!(end, End::recorded(&recorded), "{name}: {said}");
            assert!(
                said.contains(word) || name == "daemon-version",
                "{name}: {said}"
            );
        }
    });
}

/// A failed call's error object.
fn error(answer: &Answer) -> Value {
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    answer.json().unwrap()
}

#[test]
fn delegate_errors_reach_the_runtime() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        rig.make_namespace("g-plain");
        let expected = [
            ("ADD", 7, "bad net conf"),
            ("CHECK", 102, "check failed"),
            ("STATUS", 50, "plugin not available"),
            ("GC", 101, "gc failed"),
            ("DEL", 11, "try later del"),
        ];
        for (verb, code, message) in expected {
            let recorded = rig.golden(&format!("errors/delegate-cni-error-{verb}.json"));
            let error = error(&rig.replay(&recorded["run"]));
            assert_eq!(error["code"], code, "{verb}: {error:#}");
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            assert!(text("msg").contains(message), "{verb}: {error:#}");
            assert!(text("msg").contains("\"sf\""), "{verb}: {error:#}");
            let details = if verb == "STATUS" { "ipam down" } else { "det" };
            assert!(text("details").contains(details), "{verb}: {error:#}");
            if verb == "ADD" {
                assert_eq!(observe::ledger(rig.node), json!({}), "it made nothing");
                let instructions = fs::read(rig.node.path("cnibin/statusfail.fake.json")).unwrap();
                let mut instructions: Value = serde_json::from_slice(&instructions).unwrap();
                remove(&mut instructions, "ADD");
                rig.install("statusfail", &instructions);
                rig.succeed(&recorded["run"]);
            }
        }
        // Multus forgets the pod here.
        assert!(rig.node.path("cnidir/cid-plain").exists());
        rig.install("statusfail", &json!({}));
        let recorded = rig.golden("errors/delegate-cni-error-DEL.json");
        rig.succeed(&recorded["run"]);
        assert_eq!(observe::ledger(rig.node), json!({}));
    });
}

/// A recorded request to `/delegate`, its correct error code, if any, and the pod's interfaces.
const REQUESTS: [(&str, Option<u64>, &[&str]); 14] = [
    ("add", None, &["net5"]),
    ("add_dup", Some(7), &["net5"]),
    ("check", None, &["net5"]),
    ("status", None, &["net5"]),
    ("del", None, &[]),
    ("del_again", None, &[]),
    ("add_attrs", None, &["net6"]),
    ("del_attrs", None, &[]),
    // The plugin's own code. Multus leaves the plugin's interface in the pod.
    ("add_list", Some(999), &[]),
    ("bad_conf", Some(6), &[]),
    ("no_type", Some(7), &[]),
    ("wrong_uid", Some(11), &[]),
    ("gc", Some(4), &[]),
    ("frob", Some(4), &[]),
];

#[test]
fn hotplug_attaches_and_detaches_networks() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        rig.make_namespace("g-plain");
        // The pod is running: its default network's delegate creates no interface.
        let running = rig.golden("delegate-calls/tracer-plain.json");
        rig.succeed(&running["ADD"]["shim"]);
        let recorded = rig.golden("errors/delegate-endpoint.json");
        for (name, code, interfaces) in REQUESTS {
            let request = with_rig(&rig, &recorded[name]["request"]);
            let (status, body) = exchange::post(&rig.socket(), "/delegate", &request);
            let log = || rig.node.log();
            assert_eq!(
                recorded[name]["status"],
                status,
                "{name}: {body}\n{}",
                log()
            );
            let links = inspect::links(Some("g-plain")).unwrap();
            let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            assert_eq!(names, interfaces, "{name}: {body}");
            let expected = recorded[name]["body"].as_str().unwrap();
            let answer: Value = serde_json::from_str(&body).unwrap_or_default();
            assert_eq!(answer["code"].as_u64(), code, "{name}: {body}");
            if code.is_none() {
                let expected: Value = serde_json::from_str(expected).unwrap_or_default();
                compare::same(name, &normal::value(expected), &normal::value(answer));
            }
            if interfaces == ["net5"] || interfaces == ["net6"] {
                compare::same(
                    name,
                    &normal::value(recorded[name]["netns"].clone()),
                    &normal::value(observe::namespace("g-plain")),
                );
            }
        }
        assert!(inspect::reserved_addresses(rig.node).unwrap().is_empty());
        let events = observe::events(rig.node, "default/plain");
        let told: Vec<&str> = events
            .iter()
            .map(|event| event["message"].as_str().unwrap())
            .collect();
        assert_eq!(
            told,
            [
                "Add eth0 [10.9.0.2/24 fd00::2/64] from tracenet",
                "Add net5 [10.78.0.2/16] from br-sec",
                "Add net6 [10.81.0.9/24] from br-caps",
                // Cnidaria's own: Multus reports a failed hot-plug only to the controller.
                "network \"br-caps\": bridge: IPAM plugin returned missing IP config",
            ]
        );
        compare::same(
            "network-status",
            &observe::recorded_status(&recorded["pod_status_after"]),
            &observe::status(rig.node, "default/plain"),
        );
        rig.succeed(&running["DEL"]["shim"]);
        assert_eq!(observe::ledger(rig.node), json!({}));
        run("ip", &["netns", "delete", "g-plain"]).unwrap();
    });
}

/// A recorded request with the rig's directory in its conf.
fn with_rig(rig: &Rig<'_>, request: &Value) -> Value {
    let mut request = request.clone();
    let conf = golden::decoded(request["config"].as_str().unwrap(), &rig.root);
    request["config"] = json!(STANDARD.encode(conf));
    request
}

#[test]
fn every_recorded_error_is_replayed() {
    let starts = STARTS.iter().map(|start| start.name.to_owned());
    let others = [
        "daemon-badjson",
        "daemon-missing-file",
        "daemon-unknown-flag",
        "daemon-version",
        "delegate-endpoint",
    ];
    let verbs =
        ["ADD", "CHECK", "DEL", "GC", "STATUS"].map(|verb| format!("delegate-cni-error-{verb}"));
    let mut replayed: Vec<String> = starts
        .chain(others.map(str::to_owned))
        .chain(verbs)
        .collect();
    replayed.sort();
    assert_eq!(replayed, golden::names("errors"));
    // The endpoint's requests must be complete as well.
    let recorded = golden::json("errors/delegate-endpoint.json", "");
    let requests = recorded.as_object().unwrap().iter();
    let mut names: Vec<&str> = requests
        .filter(|(_, value)| value["request"].is_object())
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    let mut replayed: Vec<&str> = REQUESTS.iter().map(|(name, ..)| *name).collect();
    replayed.sort_unstable();
    assert_eq!(replayed, names);
}
