//! Records of requests, and what policies do when they are offered them again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use policy_engine::record::{Answer, Frames, Recorded, Turn};
use policy_engine::trial::{Compiled, Configuration, Loaded, Replayed};
use policy_engine::{
    AddFailure, Cluster, Command, Hook, Needs, Networks, Outcome, PolicyHost, Recording,
};
use policy_tests::{Policies, answer, cluster, facts, selection, storage, witness};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// Knows everything.
#[derive(Debug)]
struct Known;

impl Cluster for Known {
    fn needed(&self, _: Needs) {}
    fn namespace_label(&self, _: &str, _: &str) -> Option<String> {
        Some("a".to_owned())
    }
    fn namespace_annotation(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn nad_conf(&self, _: &str, _: &str) -> Option<String> {
        Some(r#"{"type":"ptp","password":"secret"}"#.to_owned())
    }
    fn nad_annotation(&self, _: &str, _: &str, _: &str) -> Option<String> {
        Some("b".to_owned())
    }
    fn node_label(&self, _: &str) -> Option<String> {
        Some("c".to_owned())
    }
    fn node_annotation(&self, _: &str) -> Option<String> {
        Some("d".to_owned())
    }
    fn namespace_labels(&self, _: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("team".to_owned(), "a".to_owned())])
    }
    fn namespace_annotations(&self, _: &str) -> BTreeMap<String, String> {
        let secret = ("example.com/token".to_owned(), "secret".to_owned());
        BTreeMap::from([secret, ("plain".to_owned(), "value".to_owned())])
    }
    fn nad_annotations(&self, _: &str, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn node_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("zone".to_owned(), "c".to_owned())])
    }
    fn node_annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

const GRANTS: [&str; 7] = [
    "namespaces",
    "nads",
    "node",
    "metrics",
    "clock",
    "random",
    "state",
];

/// What the first policy does.
fn actions(mtu: u32) -> Value {
    json!({
        "select": [
            {"insert": [0, "added"]}, {"set-default": ["default", "fast"]}, {"count": "selects"},
            "describe",
        ],
        "validate-selections": ["describe"],
        "before-add": [{"set-mtu": mtu}, {"count": "adds"}, "describe"],
        "validate-plan": ["describe"],
        "after-add": [{"add-nameserver": "10.0.0.9"}, {"tag": ["k", "v"]}, "describe"],
        "finalize": [{"status": [0, {"tag": ["end", "1"]}]}],
        "validate-result": ["describe"],
        "add-failed": ["describe"],
        "check": ["describe"],
        "status": [{"report": ["ready", "yes"]}],
        "del": ["describe"],
        "gc": ["describe"],
    })
}

fn config(mtu: u32) -> Value {
    witness(&actions(mtu), &json!({"grants": ["state"]}))
}

/// A node with two policies, which records.
async fn recording(change: impl FnOnce(&mut Recording)) -> (Policies, PolicyHost) {
    let policies = Policies::new(COMPILER)
        .with("10-witness", "witness", &config(1400))
        .with("20-greedy", "hostile-greedy", &json!({"grants": GRANTS}));
    let mut config = policies.config();
    config.cluster = Some(Arc::new(Known));
    let mut recording = Recording::new(policies.path("record"));
    change(&mut recording);
    config.recording = Some(recording);
    let host = PolicyHost::load(config).await;
    (policies, host)
}

/// Each kind of request.
async fn requests(host: &PolicyHost) {
    let mut facts_of_add = facts(Command::Add, "default");
    facts_of_add
        .annotations
        .insert("example.com/token".to_owned(), "secret".to_owned());
    for _ in 0..3 {
        let mut session = host.current().begin(facts_of_add.clone());
        let networks = Networks {
            of_node: vec!["backup".to_owned()],
            of_pod: vec![selection("storage")],
            ..Networks::default()
        };
        session.select_networks(networks).await.unwrap();
        let mut plan = Vec::new();
        assert!(session.wants_plan());
        session.plan(vec![cluster(), storage()]);
        for offered in [cluster(), storage()] {
            plan.push(session.before_add(offered).await.unwrap().0);
        }
        session.settle(&plan).await.unwrap();
        session.validate_plan(&plan).await.unwrap();
        let mut results = Vec::new();
        for attachment in &plan {
            let (outcome, _) = session
                .after_add(attachment.clone(), answer())
                .await
                .unwrap();
            results.push(outcome.result);
        }
        session.finalize(&plan, answer(), results).await.unwrap();
        session.succeed();
    }
    let mut failed = host.current().begin(facts_of_add);
    failed.select(vec![selection("storage")]).await.unwrap();
    let why = AddFailure {
        code: Some(7),
        message: "the network of secret does not exist".to_owned(),
        denied_by: None,
    };
    failed.add_failed(&[storage()], why).await;
    drop(failed);
    let mut check = host.current().begin(facts(Command::Check, "default"));
    check
        .check(&storage(), &Outcome::new(answer()))
        .await
        .unwrap();
    drop(check);
    let mut del = host.current().begin(facts(Command::Del, "default"));
    del.del(&storage(), &Outcome::new(answer())).await;
    drop(del);
    host.current().status().await.unwrap();
    host.current()
        .gc(&[("0123456789abcdef".to_owned(), "eth0".to_owned())])
        .await;
}

/// The recorded requests of a directory.
fn records(dir: &Path) -> Vec<Recorded> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let bytes: Vec<u8> = files
        .iter()
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect();
    Frames::new(&bytes)
        .unwrap()
        .map(|record| serde_json::from_slice(record).unwrap())
        .collect()
}

async fn load(guest: &str, name: &str, config: &Value) -> Loaded {
    let module = std::fs::read(test_artifacts::guest(guest)).unwrap();
    let compiled = Compiled::new(&module).unwrap();
    let text = config.to_string();
    let configuration = Configuration::parse(name, Path::new("policy.json"), &text).unwrap();
    compiled.load(&configuration).await.unwrap()
}

async fn replay(loaded: &Loaded, recorded: &Recorded, name: &str) -> Replayed {
    loaded.replay().request(recorded, name).await.unwrap()
}

/// What a turn did, without the module that did it.
fn done(turn: &Turn) -> (Answer, String, Vec<String>) {
    let findings = turn.findings.iter().map(|finding| finding.message.clone());
    (turn.answer.clone(), turn.edits.clone(), findings.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_policies_replay_unchanged() {
    let (policies, host) = recording(|_| {}).await;
    requests(&host).await;
    host.recorder().unwrap().flush();
    let records = records(&policies.path("record"));
    assert_eq!(records.len(), 8);
    let add = &records[0];
    let hooks: Vec<&str> = add.calls.iter().map(|call| call.hook.as_str()).collect();
    assert_eq!(
        hooks,
        [
            "select",
            "validate-selections",
            "before-add",
            "before-add",
            "validate-plan",
            "after-add",
            "after-add",
            "finalize",
            "validate-result"
        ]
    );
    let failed: Vec<Hook> = records[3].calls.iter().map(|call| call.hook).collect();
    assert_eq!(
        failed,
        [Hook::Select, Hook::ValidateSelections, Hook::AddFailed]
    );
    let names = ["10-witness", "20-greedy"];
    let before_add = &add.calls[2];
    let turns: Vec<&str> = before_add.turns.iter().map(|turn| &*turn.policy).collect();
    assert_eq!(turns, names);
    for (name, guest, config) in [
        (names[0], "witness", config(1400)),
        (names[1], "hostile-greedy", json!({"grants": GRANTS})),
    ] {
        let loaded = load(guest, name, &config).await;
        let mut turns = 0;
        for recorded in &records {
            let replayed = replay(&loaded, recorded, name).await;
            assert!(replayed.missing.is_empty(), "{:?}", replayed.missing);
            assert_eq!(replayed.turns.len(), recorded.calls.len());
            for (call, new) in recorded.calls.iter().zip(&replayed.turns) {
                let old = call.turn(name).map(done);
                turns += usize::from(old.is_some());
                assert_eq!(new.as_ref().map(done), old, "{name} {call:?}");
            }
        }
        assert!(turns >= 6, "{name}: {turns}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_changes_its_edits_only() {
    let (policies, host) = recording(|_| {}).await;
    requests(&host).await;
    host.recorder().unwrap().flush();
    let records = records(&policies.path("record"));
    let loaded = load("witness", "new", &config(9000)).await;
    let replayed = replay(&loaded, &records[0], "10-witness").await;
    let old = records[0].calls.iter().map(|call| call.turn("10-witness"));
    let differ: Vec<&str> = old
        .zip(&records[0].calls)
        .zip(&replayed.turns)
        .filter(|((old, _), new)| old.map(done) != new.as_ref().map(done))
        .map(|((_, call), _)| call.hook.as_str())
        .collect();
    assert_eq!(differ, ["before-add", "before-add"]);
    let edits = &replayed.turns[2].as_ref().unwrap().edits;
    assert!(
        edits.contains(r#""path":"/conf/mtu","value":9000"#),
        "{edits}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_denies_ends_the_replay() {
    let (policies, host) = recording(|_| {}).await;
    requests(&host).await;
    host.recorder().unwrap().flush();
    let records = records(&policies.path("record"));
    let denies = witness(
        &json!({"before-add": [{"deny": [130, "no"]}]}),
        &json!({"grants": ["state"]}),
    );
    let loaded = load("witness", "new", &denies).await;
    let replayed = replay(&loaded, &records[0], "10-witness").await;
    let answers: Vec<Option<Answer>> = replayed
        .turns
        .iter()
        .map(|turn| turn.as_ref().map(|turn| turn.answer.clone()))
        .collect();
    let deny = Answer::Deny {
        code: 130,
        message: "no".to_owned(),
    };
    let accepts = Some(Answer::Accept);
    assert_eq!(answers, [accepts.clone(), accepts, Some(deny)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_record_lacks_is_reported() {
    let (policies, host) = recording(|_| {}).await;
    requests(&host).await;
    host.recorder().unwrap().flush();
    let records = records(&policies.path("record"));
    // The witness has not asked for what the greedy policy asks for: only state and random bytes
    // are a policy's own.
    let loaded = load("hostile-greedy", "new", &json!({"grants": GRANTS})).await;
    let replayed = replay(&loaded, &records[0], "10-witness").await;
    let missing: Vec<&str> = replayed.missing.iter().map(String::as_str).collect();
    assert_eq!(
        missing,
        [
            "key count of the state",
            "keys of the state that begin with \"\"",
            "random bytes"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn redacted_values_are_not_on_disk() {
    let (policies, host) = recording(|recording| {
        recording.redaction.annotations = vec!["example.com/*".to_owned()];
        recording.redaction.keys = vec!["password".to_owned()];
        recording.redaction.pointers = vec!["/big".to_owned()];
    })
    .await;
    requests(&host).await;
    host.recorder().unwrap().flush();
    for entry in std::fs::read_dir(policies.path("record")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("example.com/token"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.contains("12345678901234567890"), "{text}");
    }
    let recorded = records(&policies.path("record"));
    let loaded = load("witness", "10-witness", &config(1400)).await;
    let replayed = replay(&loaded, &recorded[0], "10-witness").await;
    assert_eq!(replayed.turns.len(), recorded[0].calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_recorder_that_is_on_records() {
    let (policies, host) = recording(|recording| recording.at_start = false).await;
    let recorder = host.recorder().unwrap();
    requests(&host).await;
    recorder.flush();
    assert!(!policies.path("record").exists());
    recorder.start().unwrap();
    requests(&host).await;
    recorder.stop();
    requests(&host).await;
    let status = recorder.status().unwrap();
    assert_eq!((status.is_on, status.requests, status.lost), (false, 8, 0));
    assert_eq!(records(&status.dir).len(), 8);
    recorder.start().unwrap();
    requests(&host).await;
    recorder.flush();
    assert_eq!(records(&status.dir).len(), 16);
}

/// A policy whose hook status counts to COUNT.
const COUNTING: &str = r#"(component
    (component $hook
        (type $f (func (result (result (error string)))))
        (import "status" (func $g (type $f)))
        (export "status" (func $g)))
    (core module $m (memory (export "memory") 1)
        (func (export "status") (result i32) (local $n i32)
            (loop $again
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.ne (local.get $n) (i32.const COUNT))))
            i32.const 0))
    (core instance $i (instantiate $m))
    (func $status (result (result (error string)))
        (canon lift (core func $i "status") (memory (core memory $i "memory"))))
    (instance $hook-instance (instantiate $hook (with "status" (func $status))))
    (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#;

/// A replay of [`COUNTING`] with the least time limits, and a request for it.
async fn counting(count: u32) -> (policy_engine::trial::Replay, Recorded) {
    let module = wat::parse_str(COUNTING.replace("COUNT", &count.to_string())).unwrap();
    let compiled = Compiled::new(&module).unwrap();
    let text = json!({"limits": {"timeoutMs": 1, "requestTimeoutMs": 1}}).to_string();
    let configuration = Configuration::parse("p", Path::new("p.json"), &text).unwrap();
    let loaded = compiled.load(&configuration).await.unwrap();
    let turn = json!({"policy": "p", "digest": "", "answer": "accept"});
    let facts = json!({"command": "STATUS", "containerId": "", "labels": {}, "annotations": {},
        "pod": null, "namespaceLabels": null, "nodeName": ""});
    let call = json!({"hook": "status", "offered": "status", "turns": [turn]});
    let recorded = json!({"atUnixMs": 0, "facts": facts, "calls": [call]});
    (loaded.replay(), serde_json::from_value(recorded).unwrap())
}

#[tokio::test]
async fn a_slow_machine_changes_no_verdict() {
    let (replay, recorded) = counting(200_000_000).await;
    let replayed = replay.request(&recorded, "p").await.unwrap();
    let answers = replayed.turns.iter().flatten().map(|turn| &turn.answer);
    assert_eq!(answers.collect::<Vec<_>>(), [&Answer::Accept]);
}

#[tokio::test]
async fn a_replayed_request_leaves_no_instance() {
    let (replay, recorded) = counting(1).await;
    replay.request(&recorded, "p").await.unwrap();
    let of_one = replay.guest_memory_peak();
    for _ in 0..10 {
        replay.request(&recorded, "p").await.unwrap();
    }
    assert_eq!(replay.guest_memory_peak(), of_one);
}
