//! Policies written in languages other than Rust.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Cause, Command, Hook, LoadState, PolicyHost, RequestFacts};
use policy_tests::{Policies, answer, cluster, conf_at, facts, only, storage, trouble};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// Loads a module with the default limits.
async fn load(module: &[u8], settings: &Value) -> PolicyHost {
    Policies::new(COMPILER)
        .with_module("10-script", module, &json!({"settings": settings}))
        .load()
        .await
}

async fn javascript(settings: Value) -> PolicyHost {
    let module = std::fs::read(test_artifacts::javascript()).unwrap();
    load(&module, &settings).await
}

fn asking_for(mtu: &str) -> RequestFacts {
    let mut facts = facts(Command::Add, "default");
    facts
        .annotations
        .insert("example.com/mtu".to_owned(), mtu.to_owned());
    facts
}

/// The example's behaviour in every language: sets the second network's MTU from the
/// annotation, up to `maxMtu`, and adds a nameserver.
async fn edits_and_denies(host: &PolicyHost) {
    let mut session = host.current().begin(asking_for("1400"));
    let (first, _) = session.before_add(cluster()).await.unwrap();
    assert_eq!(conf_at(&first, "/mtu"), None);
    let (second, _) = session.before_add(storage()).await.unwrap();
    assert_eq!(conf_at(&second, "/mtu").as_deref(), Some("1400"));
    assert_eq!(
        conf_at(&second, "/big").as_deref(),
        Some("12345678901234567890")
    );
    let (outcome, _) = session.after_add(second, answer()).await.unwrap();
    assert_eq!(outcome.result.dns.nameservers, ["10.0.0.1", "10.0.0.53"]);
    assert_eq!(outcome.tags["mtu"], "1400");

    let mut session = host.current().begin(asking_for("9001"));
    let denied = session.before_add(storage()).await.unwrap_err();
    assert_eq!(
        (denied.code, denied.cause, denied.message.as_str()),
        (
            110,
            Cause::Policy,
            "example.com/mtu: 9001 is more than 9000"
        )
    );
}

#[tokio::test]
async fn a_policy_in_javascript_edits_and_denies() {
    let host = javascript(json!({"maxMtu": 9000, "nameserver": "10.0.0.53"})).await;
    let info = only(&host);
    assert_eq!(info.state, LoadState::Loaded, "{info:?}");
    assert_eq!(
        info.hooks,
        [Hook::Configure, Hook::BeforeAdd, Hook::AfterAdd]
    );

    edits_and_denies(&host).await;
}

#[tokio::test]
async fn settings_are_refused_in_javascript() {
    let host = javascript(json!({"maxMtu": 9000, "nameserver": "10.0.0.53", "mtu": 1})).await;
    let reason = trouble(&host);
    assert!(
        reason.ends_with("10-script.json: settings: unknown key \"mtu\""),
        "{reason}"
    );
}

#[tokio::test]
async fn rejected_edit_throws_in_javascript() {
    let host = javascript(json!({"maxMtu": 90000, "nameserver": "10.0.0.53"})).await;
    let mut session = host.current().begin(asking_for("80000"));
    let denied = session.before_add(storage()).await.unwrap_err();
    assert_eq!((denied.code, denied.cause), (111, Cause::Policy));
    assert!(
        denied.message.starts_with("example.com/mtu: MTU 80000"),
        "{}",
        denied.message
    );
}

/// Reports what it can reach, and keeps its attachment for the next call.
const CURIOUS: &str = r#"
const accept = { tag: "accept" };
let kept = null;

export const configure = { configure() {} };

export const beforeAdd = {
  beforeAdd(request, attachment) {
    const say = (code, message) => request.report({ severity: "info", code, message: String(message), fields: [] });
    const ways = ["process", "require", "fetch", "XMLHttpRequest", "WebSocket", "Deno", "Bun", "std", "os"];
    say("ways out", ways.filter((name) => name in globalThis).join());
    say("time", Date.now());
    say("random", Math.random());
    if (kept !== null) kept.setMtu(1300);
    kept = attachment;
    return accept;
  },
};

export const afterAdd = { afterAdd() { return accept; } };
"#;

#[tokio::test]
async fn javascript_is_sandboxed_and_deterministic() {
    let module = std::fs::read(test_artifacts::javascript_of("curious", CURIOUS)).unwrap();
    let host = load(&module, &json!({})).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut session = host.current().begin(asking_for("1400"));
        let (_, report) = session.before_add(storage()).await.unwrap();
        let findings = report.findings.into_iter();
        let found: Vec<_> = findings
            .map(|finding| (finding.code, finding.message))
            .collect();
        assert_eq!(found[0], ("ways out".to_owned(), String::new()));
        runs.push(found);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn stale_handle_traps_in_the_next_hook() {
    let module = std::fs::read(test_artifacts::javascript_of("curious", CURIOUS)).unwrap();
    let host = load(&module, &json!({})).await;
    let mut session = host.current().begin(asking_for("1400"));
    session.before_add(cluster()).await.unwrap();
    let denied = session.before_add(storage()).await.unwrap_err();
    assert_eq!(denied.cause, Cause::Trap);
    assert!(
        denied
            .message
            .contains("a handle of attachment that does not belong to this call"),
        "{}",
        denied.message
    );
}

/// Tries to escape the sandbox with Python's means.
const CURIOUS_PYTHON: &str = r#"
import os, random, socket, time
from wit_world.imports.types import Finding, Severity, Verdict_Accept

class Configure:
    def configure(self, settings):
        pass

class BeforeAdd:
    def before_add(self, request, attachment, plan):
        def say(code, attempt):
            try:
                message = str(attempt())
            except BaseException as error:
                message = "refused " + type(error).__name__
            request.report(Finding(Severity.INFO, code, message, []))
        say("read", lambda: open("/etc/hostname").read())
        say("write", lambda: open("/tmp/x", "w"))
        say("list", lambda: os.listdir("/"))
        say("environment", lambda: dict(os.environ))
        say("tcp", lambda: socket.create_connection(("127.0.0.1", 1), 1))
        say("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 0)))
        say("name", lambda: socket.getaddrinfo("localhost", 80))
        say("time", lambda: time.time())
        return Verdict_Accept()

class AfterAdd:
    def after_add(self, request, attachment, outcome):
        return Verdict_Accept()
"#;

async fn python(module: std::path::PathBuf, settings: Value) -> PolicyHost {
    let limits =
        json!({"memoryBytes": 134_217_728, "tableElements": 50_000, "instances": 64, "tables": 16});
    let module = std::fs::read(module).unwrap();
    let host = Policies::new(COMPILER)
        .with_module(
            "10-script",
            &module,
            &json!({"settings": settings, "limits": limits}),
        )
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host
}

#[tokio::test]
#[ignore = "compiles 18 MB of Python, half a minute of processor time; needs python3 with venv, and PyPI"]
async fn a_policy_in_python_edits_and_denies() {
    let settings = json!({"maxMtu": 9000, "nameserver": "10.0.0.53"});
    let host = python(test_artifacts::python(), settings).await;
    edits_and_denies(&host).await;
}

#[tokio::test]
#[ignore = "compiles 18 MB of Python, half a minute of processor time; needs python3 with venv, and PyPI"]
async fn python_has_no_files_sockets_or_environment() {
    let host = python(
        test_artifacts::python_of("curious", CURIOUS_PYTHON),
        json!({}),
    )
    .await;
    let mut session = host.current().begin(asking_for("1400"));
    let (_, report) = session.before_add(storage()).await.unwrap();
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.message.as_str()))
        .collect();
    let refused = |message: &str| message.starts_with("refused ");
    for (code, message) in &found {
        match *code {
            "environment" => assert_eq!(*message, "{}"),
            "time" => {}
            code => assert!(refused(message), "{code}: {message}"),
        }
    }
    assert_eq!(found.len(), 8, "{found:?}");
}
