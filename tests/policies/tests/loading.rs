//! What becomes of modules and configurations that are wrong, and of the cache.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use policy_engine::{Cause, Command, Hook, Mode, State};
use policy_tests::{Policies, add, conf_at, facts, files, only, selection, storage, trouble};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

async fn reason_for(module: &[u8]) -> String {
    let host = Policies::new(COMPILER)
        .with_module("10-odd", module, &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, State::Broken);
    let reason = trouble(&host);
    assert!(reason.contains("10-odd.wasm"), "{reason}");
    reason
}

async fn check(module: &[u8], parts: &[&str]) {
    let reason = reason_for(module).await;
    for part in parts {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

#[tokio::test]
async fn files_that_are_no_component_are_told_apart() {
    check(b"", &["no WebAssembly"]).await;
    check(b"#!/bin/sh\n", &["no WebAssembly"]).await;
    check(
        b"\0asm\x01\0\0\0",
        &["a core module, not a component", "wasm-component-ld"],
    )
    .await;
    check(b"\0asm\x0d\0\x01\0garbage", &["does not compile"]).await;
}

#[tokio::test]
async fn components_that_do_not_fit_say_why() {
    let component = |text: &str| wat::parse_str(text).unwrap();
    check(&component("(component)"), &["exports no hook"]).await;
    let newer = r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $m (memory (export "memory") 1) (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@9.0.0" (instance $hook-instance)))"#;
    check(
        &component(newer),
        &["cnidaria:policy/status@9.0.0", "@0.1.0"],
    )
    .await;
    check(
        &component(r#"(component (import "cnidaria:policy/types@9.0.0" (instance)))"#),
        &["imports cnidaria:policy/types@9.0.0", "@0.1.0"],
    )
    .await;
    check(
        &component(r#"(component (import "acme:disk/format@1.0.0" (instance)))"#),
        &["imports acme:disk/format@1.0.0", "does not have"],
    )
    .await;
    let lacking = r#"(component
        (component $c)
        (instance $empty (instantiate $c))
        (export "cnidaria:policy/before-add@0.1.0" (instance $empty)))"#;
    check(
        &component(lacking),
        &["exports the hook before-add, but not as the package defines it"],
    )
    .await;
    let wrong_type = newer
        .replace("9.0.0", "0.1.0")
        .replace("(error string)", "(error u32)");
    check(
        &component(&wrong_type),
        &["exports the hook status, but not as"],
    )
    .await;
}

/// A component with the hook status and the given core items beside it.
fn with_status(items: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        (core module $m (memory (export "memory") 1) {items} (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m)) {more}
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn memories_tables_and_instances_are_limited_when_they_are_made() {
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &with_status("", ""), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, State::Loaded, "{:?}", only(&host));
    host.current().status().await.unwrap();

    check(
        &with_status("(memory 300)", ""),
        &["limits.memoryBytes allows 16777216"],
    )
    .await;
    check(
        &with_status("(table 20000 funcref)", ""),
        &["limits.tableElements allows 10000"],
    )
    .await;
    check(
        &with_status(&"(memory 1)".repeat(4), ""),
        &["limit", "limits.memories"],
    )
    .await;
    check(
        &with_status(&"(table 1 funcref)".repeat(9), ""),
        &["limit", "limits.tables"],
    )
    .await;
    let instances = "(core instance (instantiate $m))".repeat(16);
    check(&with_status("", &instances), &["limit", "limits.instances"]).await;
    // Two memories of 10 MiB each are as much as one of 20.
    check(
        &with_status("(memory 160) (memory 160)", ""),
        &["limits.memoryBytes"],
    )
    .await;

    let more = json!({"limits": {"memoryBytes": 33_554_432, "instances": 32}});
    let odd = with_status("(memory 300)", &instances);
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &odd, &more)
        .load()
        .await;
    assert_eq!(
        only(&host).state,
        State::Broken,
        "16 instances of 19 MiB are too much for 32 MiB"
    );
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &with_status("(memory 300)", ""), &more)
        .load()
        .await;
    assert_eq!(only(&host).state, State::Loaded, "{:?}", only(&host));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instantiation_is_limited_as_hooks_are() {
    let start = |body: &str| format!("(func $start {body}) (start $start)");
    let odd = |items: &str| with_status(items, "");
    let quick = json!({"limits": {"timeoutMs": 200}});
    let reason = async |module: &[u8]| {
        let policies = Policies::new(COMPILER).with_module("10-odd", module, &quick);
        trouble(&policies.load().await)
    };
    let spinning = reason(&odd(&start("(loop $l (br $l))"))).await;
    assert!(
        spinning.contains("timeout: did not return within 200 ms"),
        "{spinning}"
    );
    let trapping = reason(&odd(&start("unreachable"))).await;
    assert!(trapping.contains("trap: "), "{trapping}");
    let growing = reason(&odd(&start(
        "(loop $l (drop (memory.grow (i32.const 16))) (br $l))",
    )))
    .await;
    assert!(growing.contains("limits.memoryBytes allows"), "{growing}");
    let recursing = reason(&odd("(func $start (call $start)) (start $start)")).await;
    assert!(recursing.contains("limits.stackBytes"), "{recursing}");
    // 17 MiB of data: in the file they are a few bytes each, in memory they are not.
    let segments: String = (0..272)
        .map(|page| format!("(data (i32.const {}) \"x\")", page * 65_536))
        .collect();
    let filling = reason(&odd(&format!(
        "(memory 272) {}",
        segments.replace("(data (", "(data (memory 1) (")
    )))
    .await;
    assert!(filling.contains("limits.memoryBytes allows"), "{filling}");
}

#[tokio::test]
async fn a_module_with_thousands_of_exports_is_one_with_some_hooks_or_refused() {
    let exports: String = (0..5_000)
        .map(|number| format!("(func (export \"e{number}\"))"))
        .collect();
    let more = |count: u32| -> String {
        (0..count)
            .map(|number| format!("(instance (export \"extra-{number}\"))"))
            .collect()
    };
    let host = Policies::new(COMPILER)
        .with_module("10-odd", &with_status(&exports, &more(300)), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, State::Loaded, "{:?}", only(&host));
    assert_eq!(only(&host).hooks, [Hook::Status]);

    // More of them than the compiler cares to look at.
    check(
        &with_status("", &more(2_000)),
        &["does not compile", "count"],
    )
    .await;

    let long = format!("acme:{}/x", "y".repeat(50_000));
    let reason = reason_for(
        &wat::parse_str(format!(r#"(component (import "{long}" (instance)))"#)).unwrap(),
    )
    .await;
    assert!(reason.len() <= 4096, "{}", reason.len());
}

#[tokio::test]
async fn what_is_no_file_keeps_nobody_waiting_and_spoils_no_other_policy() {
    let policies = Policies::new(COMPILER).with("30-good", "annotation-mtu", &json!({}));
    let pipe = |name: &str| {
        let path = policies.modules().join(name);
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, policies.modules().join(name)).unwrap();
    };
    pipe("10-pipe.wasm");
    pipe("11-pipe.json");
    link("/dev/zero", "12-zero.wasm");
    link("nowhere", "13-dangling.wasm");
    link("14-loop.wasm", "14-loop.wasm");
    link("/", "15-directory.wasm");
    link("30-good.wasm", "16-link.wasm");
    std::fs::File::create(policies.modules().join("17-huge.wasm"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let loading = tokio::time::timeout(Duration::from_secs(60), policies.load());
    let host = loading.await.expect("nothing waits for a writer");
    let shown: Vec<_> = host
        .current()
        .policies()
        .into_iter()
        .map(|info| {
            let error = info.last_error.unwrap_or_default();
            let end = error.rsplit(": ").next().unwrap_or_default().to_owned();
            (info.name, info.state, end)
        })
        .collect();
    let row = |name: &str, state, end: &str| (name.to_owned(), state, end.to_owned());
    assert_eq!(
        shown,
        [
            row("10-pipe", State::Broken, "it is no regular file"),
            row("11-pipe", State::Broken, "it is no regular file"),
            row("12-zero", State::Broken, "it is no regular file"),
            row(
                "13-dangling",
                State::Broken,
                "No such file or directory (os error 2)"
            ),
            row(
                "14-loop",
                State::Broken,
                "Too many levels of symbolic links (os error 40)"
            ),
            row("16-link", State::Loaded, ""),
            row("17-huge", State::Broken, "it has more than 67108864 bytes"),
            row("30-good", State::Loaded, ""),
        ]
    );
}

#[tokio::test]
async fn a_policy_that_must_be_there_fails_status_and_adds_also_when_its_files_are_gone() {
    let policies = Policies::new(COMPILER).with(
        "10-mtu",
        "annotation-mtu",
        &json!({"failurePolicy": "open"}),
    );
    let mut config = policies.config();
    config.required = vec!["10-mtu".to_owned()];
    let host = policy_engine::PolicyHost::load(config).await;
    host.current().status().await.unwrap();
    let refused = async |part: &str| {
        let denied = host.current().status().await.unwrap_err();
        assert!(denied.message.contains(part), "{}", denied.message);
        let denied = add(&host).select(vec![]).await.unwrap_err();
        assert_eq!(
            (denied.policy.as_str(), denied.cause),
            ("10-mtu", Cause::Load)
        );
    };
    std::fs::remove_file(policies.modules().join("10-mtu.wasm")).unwrap();
    std::fs::remove_file(policies.modules().join("10-mtu.json")).unwrap();
    host.reload().await;
    refused("has no file here").await;
    let number = host.current().number();
    host.reload().await;
    assert_eq!(host.current().number(), number, "nothing has changed");

    policies.write("10-mtu.json", br#"{"mode":"off"}"#);
    host.reload().await;
    refused("is off").await;
    // It may be open on failure, but not when it must be there.
    policies.write("10-mtu.json", br#"{"failurePolicy":"open"}"#);
    host.reload().await;
    refused("cannot read the module").await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_taken_at_its_strictest() {
    let host = Policies::new(COMPILER)
        .with_config("10-odd", "{")
        .load()
        .await;
    host.current().status().await.unwrap_err();
    add(&host).select(vec![]).await.unwrap_err();
}

#[tokio::test]
async fn an_import_needs_its_grant() {
    let host = Policies::new(COMPILER)
        .with("10-greedy", "hostile-greedy", &json!({}))
        .load()
        .await;
    let reason = trouble(&host);
    let grants = [
        "clock",
        "metrics",
        "nads",
        "namespaces",
        "node",
        "random",
        "state",
    ];
    for grant in grants {
        let part = format!("which needs the grant \"{grant}\"");
        assert!(reason.contains(&part), "{part}: {reason}");
    }
    let mut asked = only(&host).asked;
    asked.sort();
    assert_eq!(asked, grants);
}

#[tokio::test]
async fn a_digest_is_checked() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let policies =
        Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({"digest": digest}));
    let host = policies.load().await;
    let reason = trouble(&host);
    for part in ["10-mtu.json", "digest: expected sha256:0000", "has sha256:"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let actual = only(&host).digest.unwrap();
    let host = policies
        .with_config("10-mtu", &json!({"digest": actual}).to_string())
        .load()
        .await;
    assert_eq!(only(&host).state, State::Loaded);
}

#[tokio::test]
async fn a_policy_that_does_not_load_fails_what_it_would_have_seen() {
    let policies = Policies::new(COMPILER)
        .with_config("10-gone", r#"{"match":{"namespaces":["guarded"]}}"#)
        .with_config("20-net", r#"{"match":{"networks":["storage"]}}"#)
        .with("30-good", "annotation-mtu", &json!({}));
    let host = policies.load().await;
    let states: Vec<State> = host
        .current()
        .policies()
        .iter()
        .map(|info| info.state)
        .collect();
    assert_eq!(states, [State::Broken, State::Broken, State::Loaded]);

    let begin = |command, namespace| host.current().begin(facts(command, namespace));
    let denied = begin(Command::Add, "guarded")
        .select(vec![])
        .await
        .unwrap_err();
    assert_eq!(
        (denied.policy.as_str(), denied.cause, denied.hook),
        ("10-gone", Cause::Load, Hook::Select)
    );
    assert!(
        denied.message.contains("cannot read the module"),
        "{}",
        denied.message
    );

    let mut free = begin(Command::Add, "free");
    free.select(vec![selection("storage")]).await.unwrap();
    let denied = free.before_add(storage()).await.unwrap_err();
    assert_eq!(denied.policy, "20-net");
    let mut other = storage();
    other.network = "default/other".to_owned();
    free.before_add(other).await.unwrap();

    let report = begin(Command::Del, "guarded").del(&storage()).await;
    assert!(
        report.findings.is_empty(),
        "DEL is never blocked: {report:?}"
    );
}

#[tokio::test]
async fn a_policy_that_may_fail_open_is_missing_with_a_finding() {
    let policies =
        Policies::new(COMPILER).with_config("10-gone", r#"{"failurePolicy":{"load":"open"}}"#);
    let host = policies.load().await;
    let selected = add(&host).select(vec![]).await.unwrap();
    assert_eq!(selected.report.findings[0].code, "policy-load");
}

#[tokio::test]
async fn a_required_policy_that_is_not_loaded_fails_status() {
    let policies = Policies::new(COMPILER).with_config("10-gone", r#"{"required":true}"#);
    let host = policies.load().await;
    let denied = host.current().status().await.unwrap_err();
    assert!(
        denied.message.contains("required and not loaded"),
        "{}",
        denied.message
    );
    let host = policies.with_config("10-gone", "{}").load().await;
    host.current().status().await.unwrap();
}

#[tokio::test]
async fn an_artefact_is_compiled_once() {
    let policies =
        Policies::new(COMPILER)
            .with_own_cache()
            .with("10-mtu", "annotation-mtu", &json!({}));
    assert_eq!(only(&policies.load().await).state, State::Loaded);
    let artefacts = files(&policies.cache());
    assert_eq!(artefacts.len(), 1, "{artefacts:?}");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&policies.cache()), 0o700);
    assert_eq!(mode(&policies.cache().join(&artefacts[0])), 0o600);

    let mut config = policies.config();
    config.compiler = "/does/not/exist".into();
    let host = policy_engine::PolicyHost::load(config).await;
    assert_eq!(only(&host).state, State::Loaded, "{:?}", only(&host));
}

#[tokio::test]
async fn a_reload_takes_what_is_new_and_keeps_the_last_good_one() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = policies.load().await;
    let with_annotation = || {
        let mut facts = facts(Command::Add, "default");
        facts
            .annotations
            .insert("cnidaria.dev/mtu".to_owned(), "net1=1400".to_owned());
        facts
    };
    let before = host.current();

    policies.write("10-mtu.json", br#"{"settings":{"max":1300}}"#);
    host.reload().await;
    let denied = host
        .current()
        .begin(with_annotation())
        .before_add(storage())
        .await
        .unwrap_err();
    assert_eq!(denied.code, 111);
    // A request that is under way keeps what it began with.
    let (attachment, _) = before
        .begin(with_annotation())
        .before_add(storage())
        .await
        .unwrap();
    assert_eq!(conf_at(&attachment, "/mtu").as_deref(), Some("1400"));

    policies.write("10-mtu.wasm", b"broken");
    host.reload().await;
    let info = only(&host);
    assert_eq!(info.state, State::Stale);
    assert!(info.last_error.unwrap().contains("no WebAssembly"));
    let denied = host
        .current()
        .begin(with_annotation())
        .before_add(storage())
        .await
        .unwrap_err();
    assert_eq!(denied.code, 111, "the last good one goes on");
    assert_eq!(only(&host).denials, 2, "and its counts with it");

    std::fs::remove_file(policies.modules().join("10-mtu.wasm")).unwrap();
    std::fs::remove_file(policies.modules().join("10-mtu.json")).unwrap();
    host.reload().await;
    assert!(host.current().policies().is_empty());
    assert_eq!(host.current().number(), 4);
}

#[tokio::test]
async fn a_host_without_policies_lets_everything_through() {
    let host = policy_engine::PolicyHost::empty();
    add(&host).before_add(storage()).await.unwrap();
    let host = Policies::new(COMPILER).load().await;
    add(&host).before_add(storage()).await.unwrap();
    host.current().status().await.unwrap();
}

#[tokio::test]
async fn what_does_not_change_is_neither_configured_nor_loaded_again() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = policies.load().await;
    host.reload().await;
    policies.write("README.md", b"not a policy");
    host.reload().await;
    assert_eq!(host.current().number(), 1);
    policies.write("10-mtu.json", br#"{"mode":"audit"}"#);
    host.reload().await;
    assert_eq!(host.current().number(), 2);
}

#[tokio::test]
async fn a_change_of_the_directory_is_loaded_by_itself() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = Arc::new(policies.load().await);
    let watching = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.watch().await }
    });
    // The watch begins some time; until then, and after, a change is not lost.
    policies.write("10-mtu.json", br#"{"mode":"audit"}"#);
    let audited = async {
        while only(&host).mode != Mode::Audit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), audited)
        .await
        .unwrap();
    assert!(!watching.is_finished());
    watching.abort();
}
