//! What the log says about policies, and how much policies can write to it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::cell::RefCell;
use std::io;
use std::sync::Once;
use std::time::Duration;

use policy_tests::{Policies, add, only, storage};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What this thread has logged since then, or since the last look. All tests share one subscriber:
/// those of single threads compete for the registry of log lines.
struct Log;

impl Log {
    fn begin() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_writer(|| Self)
                .with_ansi(false)
                .without_time()
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        drop(LOGGED.take());
        Self
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(LOGGED.take()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn witness(actions: &Value, rest: &Value) -> Policies {
    let mut config = json!({"settings": {"before-add": actions}, "grants": ["state"]});
    config
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    Policies::new(COMPILER).with("10-witness", "witness", &config)
}

#[tokio::test]
async fn edits_are_logged_as_patches_with_context() {
    let log = Log::begin();
    let host = witness(&json!([{"set-mtu": 1400}]), &json!({}))
        .load()
        .await;
    assert!(
        log.lines()
            .iter()
            .any(|line| line.contains("loaded") && line.contains("10-witness"))
    );
    add(&host).before_add(storage()).await.unwrap();
    let [line] = log.lines().try_into().unwrap();
    let digest = format!("digest=\"{}\"", only(&host).digest.unwrap());
    for part in [
        " INFO cnidaria::policy: edited",
        "policy=\"10-witness\"",
        &digest,
        "hook=before-add",
        "pod=default/web-1",
        "container_id=\"0123456789abcdef\"",
        "network=\"default/storage\"",
        "mode=\"enforce\"",
        r#"patch=[{"op":"add","path":"/conf/mtu","value":1400}]"#,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn println_without_wasi_reaches_the_log() {
    let config = json!({"settings": {"code": 150}, "grants": ["attachments"]});
    let host = Policies::new(COMPILER)
        .with("10-described", "described", &config)
        .load()
        .await;
    let mut attachment = storage();
    attachment.ips = vec!["10.1.2.3/24".to_owned()];
    let log = Log::begin();
    let _ = add(&host).before_add(attachment).await;
    let lines = log.lines();
    let line = lines
        .iter()
        .find(|line| line.contains("looks for 10.1.2.3"));
    let line = line.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(line.contains("pod=default/web-1"), "{line}");
}

#[tokio::test]
async fn a_denial_a_failure_and_a_finding_are_logged() {
    let check = async |actions: Value, rest: Value, parts: &[&str]| {
        let host = witness(&actions, &rest).load().await;
        let log = Log::begin();
        let _ = add(&host).before_add(storage()).await;
        let lines = log.lines();
        for part in parts {
            assert!(
                lines.iter().any(|line| line.contains(part)),
                "{part}: {lines:#?}"
            );
        }
    };
    let deny = json!([{"report": ["odd", "a\nb"]}, {"set-mtu": 1400}, {"deny": [150, "no way"]}]);
    check(
        deny.clone(),
        json!({}),
        &[
            "WARN cnidaria::policy: denied",
            "code=150",
            "reason=\"no way\"",
            "cause=policy",
            "finding",
            "text=\"a b\"",
        ],
    )
    .await;
    check(
        deny,
        json!({"mode": "audit"}),
        &["would have denied", "mode=\"audit\""],
    )
    .await;
    check(
        json!([{"set-mtu": 1400}]),
        json!({"mode": "audit"}),
        &["would have edited"],
    )
    .await;
    check(
        json!([{"panic": "the sky is falling"}]),
        json!({}),
        &[
            " cnidaria::policy: panicked at",
            "ERROR cnidaria::policy: the policy failed",
            "cause=trap",
            "the sky is falling",
            "failure_policy=\"closed\"",
        ],
    )
    .await;
    check(
        json!([{"panic": "no"}]),
        json!({"failurePolicy": "open"}),
        &["failure_policy=\"open\""],
    )
    .await;
}

#[tokio::test]
async fn log_flood_is_truncated() {
    let config = json!({"settings": {"do": "flood-log"}, "limits": {"timeoutMs": 10_000}});
    let host = Policies::new(COMPILER)
        .with("10-bad", "hostile-misbehave", &config)
        .load()
        .await;
    let log = Log::begin();
    add(&host).before_add(storage()).await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 33, "{lines:#?}");
    assert!(lines[0].contains("line 0 and a forged one"), "{}", lines[0]);
    assert!(lines[32].contains("is dropped"), "{}", lines[32]);
    assert!(lines.iter().all(|line| line.contains("cnidaria::policy")));
}

#[tokio::test]
async fn bytes_of_log_are_limited_as_well_as_lines() {
    let long = "x".repeat(3000);
    let actions = json!([{"log": long}, {"log": long}, {"log": long}]);
    let host = witness(&actions, &json!({"limits": {"logBytes": 5000}}))
        .load()
        .await;
    let log = Log::begin();
    add(&host).before_add(storage()).await.unwrap();
    let lines = log.lines();
    assert_eq!(
        lines.len(),
        3,
        "two of 2 KiB and one that says that the rest is dropped"
    );
    assert!(lines[0].len() < 2300, "{}", lines[0].len());
    assert!(lines[2].contains("is dropped"));
}

#[tokio::test]
async fn the_bypass_is_loud() {
    let policies = witness(&json!([]), &json!({}));
    policies.write("bypass", b"");
    let mut config = policies.config();
    config.bypass_file = Some(policies.modules().join("bypass"));
    let host = policy_engine::PolicyHost::load(config).await;
    let log = Log::begin();
    add(&host).before_add(storage()).await.unwrap();
    assert!(log.lines()[0].contains("ALL POLICIES ARE BYPASSED"));
}

/// A component with the hook status, whose start function logs `started` after `first`.
fn starting(first: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (type $level (enum "debug" "info" "warn" "error"))
        (import "cnidaria:policy/log@0.2.0" (instance $log
            (export "level" (type $l (eq $level)))
            (export "log" (func (param "level" $l) (param "message" string)))))
        (import "cnidaria:policy/metrics@0.2.0" (instance $metrics
            (export "add" (func (param "name" string) (param "by" f64)))))
        (core module $memory (memory (export "memory") 1) (data (i32.const 16) "started"))
        (core instance $memory (instantiate $memory))
        (core func $line (canon lower (func $log "log") (memory (core memory $memory "memory"))))
        (core func $add (canon lower (func $metrics "add") (memory (core memory $memory "memory"))))
        (core module $m
            (import "host" "log" (func $log (param i32 i32 i32)))
            (import "host" "add" (func $add (param i32 i32 f64)))
            (func $start {first} (call $log (i32.const 1) (i32.const 16) (i32.const 7)))
            (start $start)
            (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m (with "host" (instance
            (export "log" (func $line)) (export "add" (func $add))))))
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $memory "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.2.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).unwrap()
}

/// How many instances were started by the load, and by each of three requests.
async fn starts(module: &[u8]) -> [usize; 4] {
    let log = Log::begin();
    let host = Policies::new(COMPILER)
        .with_module("10-starting", module, &json!({"grants": ["metrics"]}))
        .load()
        .await;
    assert_eq!(only(&host).last_error, None);
    // Not earlier: the compiler process runs in real time.
    tokio::time::pause();
    let starts = || {
        let lines = log.lines();
        lines.iter().filter(|line| line.contains("started")).count()
    };
    let mut counts = [starts(), 0, 0, 0];
    for count in counts.iter_mut().skip(1) {
        host.current().status().await.unwrap();
        // By then background work has finished.
        tokio::time::sleep(Duration::from_secs(1)).await;
        *count = starts();
    }
    counts
}

#[tokio::test]
async fn next_instance_is_created_ahead() {
    assert_eq!(starts(&starting("")).await, [1, 2, 1, 1]);
}

#[tokio::test]
async fn guest_using_grant_at_start_starts_on_request() {
    let add = "(call $add (i32.const 16) (i32.const 7) (f64.const 1))";
    assert_eq!(starts(&starting(add)).await, [1, 1, 1, 1]);
}
