//! Bad modules and configurations, and the artefact cache.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use policy_engine::{Cause, Command, Hook, LoadState};
use policy_tests::{
    Policies, add, conf_at, facts, files, only, selection, storage, stored, trouble,
};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

#[tokio::test]
async fn special_files_do_not_block_other_policies() {
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
            row("10-pipe", LoadState::Broken, "not a regular file"),
            row("11-pipe", LoadState::Broken, "not a regular file"),
            row("12-zero", LoadState::Broken, "not a regular file"),
            row(
                "13-dangling",
                LoadState::Broken,
                "No such file or directory (os error 2)"
            ),
            row(
                "14-loop",
                LoadState::Broken,
                "Too many levels of symbolic links (os error 40)"
            ),
            // What a bind mount of a missing file makes.
            row("15-directory", LoadState::Broken, "not a regular file"),
            row("16-link", LoadState::Loaded, ""),
            row(
                "17-huge",
                LoadState::Broken,
                "it has more than 67108864 bytes"
            ),
            row("30-good", LoadState::Loaded, ""),
        ]
    );
}

#[tokio::test]
async fn missing_required_policy_fails_status() {
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
    // Failure policy open does not exempt a required policy.
    policies.write("10-mtu.json", br#"{"failurePolicy":"open"}"#);
    host.reload().await;
    refused("cannot read the module").await;
}

#[tokio::test]
async fn a_file_that_was_never_good_fails_no_pod() {
    for text in ["", "{", "[]", "null", "\u{feff}{}"] {
        let policies = Policies::new(COMPILER).with_config("10-odd", text);
        let host = policies.load().await;
        assert_eq!(only(&host).state, LoadState::Broken, "{text}");
        assert!(trouble(&host).contains("10-odd.json"), "{text}");
        host.current().status().await.unwrap();
        add(&host).select(vec![]).await.unwrap();
        add(&host).before_add(storage()).await.unwrap();

        let mut config = policies.config();
        config.required = vec!["10-odd".to_owned()];
        let host = policy_engine::PolicyHost::load(config).await;
        let denied = host.current().status().await.unwrap_err();
        assert!(denied.message.contains("required"), "{}", denied.message);
        add(&host).select(vec![]).await.unwrap_err();
    }
}

/// Whether an ADD of a pod of each namespace is denied, and whether STATUS fails.
async fn fails(config: &str) -> (bool, bool, bool) {
    let host = Policies::new(COMPILER)
        .with("10-odd", "annotation-mtu", &json!({}))
        .with_config("10-odd", config)
        .load()
        .await;
    let generation = host.current();
    let add = async |namespace| {
        let mut session = generation.begin(facts(Command::Add, namespace));
        session.select(vec![]).await.is_err() || session.before_add(storage()).await.is_err()
    };
    let status = generation.status().await.is_err();
    (add("shop").await, add("web").await, status)
}

#[tokio::test]
async fn a_wrong_member_fails_the_pods_that_match() {
    let check = async |config: &str, expected: (bool, bool, bool)| {
        assert_eq!(fails(config).await, expected, "{config}");
    };
    let shop = (true, false, false);
    let shop_match = r#""match":{"namespaces":["shop"]}"#;
    for wrong in [
        r#""settigs":{}"#,
        r#""settings":{"mux":1}"#,
        r#""limits":{"deadlineMs":200}"#,
        r#""limits":{"timeoutMs":60000}"#,
        r#""limits":7"#,
        r#""grants":["filesystem"]"#,
        r#""digest":"sha256:0""#,
        r#""mode":"audti""#,
        r#""failurepolicy":"open""#,
        r#""module":"../x""#,
    ] {
        check(&format!("{{{wrong},{shop_match}}}"), shop).await;
        let open = format!(r#"{{{wrong},{shop_match},"failurePolicy":"open"}}"#);
        check(&open, (false, false, false)).await;
        if !wrong.contains("mode") {
            let off = format!(r#"{{{wrong},{shop_match},"mode":"off"}}"#);
            check(&off, (false, false, false)).await;
            let audit = format!(r#"{{{wrong},{shop_match},"mode":"audit"}}"#);
            check(&audit, (false, false, false)).await;
        }
    }
    check(r#"{"match":{"namespace":["shop"]}}"#, (true, true, false)).await;
    let open = r#"{"match":{"namespace":["shop"]},"failurePolicy":{"load":"open"}}"#;
    check(open, (false, false, false)).await;
    let required = r#"{"settigs":{},"required":true,"match":{"namespaces":["shop"]}}"#;
    check(required, (true, false, true)).await;
}

#[tokio::test]
async fn two_files_of_a_policy_fail_what_either_sees() {
    let policies = Policies::new(COMPILER).with(
        "10-twice",
        "annotation-mtu",
        &json!({"match": {"namespaces": ["shop"]}}),
    );
    let configs = policies.path("configs");
    std::fs::create_dir(&configs).unwrap();
    let mut config = policies.config();
    config.config_dir = Some(configs.clone());
    let text = r#"{"match":{"namespaces":["bank"]}}"#;
    std::fs::write(configs.join("10-twice.json"), text).unwrap();
    let host = policy_engine::PolicyHost::load(config).await;
    assert!(trouble(&host).contains("configure the same policy"));
    for (namespace, denied) in [("shop", true), ("bank", true), ("web", false)] {
        let mut session = host.current().begin(facts(Command::Add, namespace));
        assert_eq!(session.select(vec![]).await.is_err(), denied, "{namespace}");
    }
    host.current().status().await.unwrap();
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
    assert_eq!(only(&host).state, LoadState::Loaded);
}

#[tokio::test]
async fn broken_policy_fails_only_matching_requests() {
    let policies = Policies::new(COMPILER)
        .with_config("10-gone", r#"{"match":{"namespaces":["guarded"]}}"#)
        .with_config("20-net", r#"{"match":{"networks":["storage"]}}"#)
        .with("30-good", "annotation-mtu", &json!({}));
    let host = policies.load().await;
    let states: Vec<LoadState> = host
        .current()
        .policies()
        .iter()
        .map(|info| info.state)
        .collect();
    assert_eq!(
        states,
        [LoadState::Broken, LoadState::Broken, LoadState::Loaded]
    );

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

    let report = begin(Command::Del, "guarded")
        .del(&storage(), &stored())
        .await;
    assert!(
        report.findings.is_empty(),
        "DEL is never blocked: {report:?}"
    );
}

#[tokio::test]
async fn missing_fail_open_policy_yields_a_finding() {
    let policies =
        Policies::new(COMPILER).with_config("10-gone", r#"{"failurePolicy":{"load":"open"}}"#);
    let host = policies.load().await;
    let selected = add(&host).select(vec![]).await.unwrap();
    assert_eq!(selected.report.findings[0].code, "policy-load");
}

#[tokio::test]
async fn unloaded_required_policy_fails_status() {
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
    assert_eq!(only(&policies.load().await).state, LoadState::Loaded);
    let mut artefacts = files(&policies.cache());
    // The other one records a dry run.
    artefacts.retain(|file| !file.ends_with(".ran"));
    assert_eq!(artefacts.len(), 1, "{artefacts:?}");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&policies.cache()), 0o700);
    assert_eq!(mode(&policies.cache().join(&artefacts[0])), 0o600);

    let mut config = policies.config();
    config.compiler = "/does/not/exist".into();
    let host = policy_engine::PolicyHost::load(config).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
}

#[tokio::test]
async fn rejected_module_is_recompiled_on_change() {
    let policies = Policies::new(COMPILER).with_module("10-odd", b"no component", &json!({}));
    let runs = policies.path("runs");
    let script = format!("echo run >> {}; exec {COMPILER} \"$@\"", runs.display());
    let host = policy_engine::PolicyHost::load(policies.scripted(&script)).await;
    let check = |expected: usize| {
        assert!(
            trouble(&host).contains("no WebAssembly"),
            "{}",
            trouble(&host)
        );
        let runs = std::fs::read_to_string(&runs).unwrap();
        assert_eq!(runs.lines().count(), expected);
    };
    check(1);
    policies.write("10-odd.json", br#"{"mode":"audit"}"#);
    host.reload().await;
    check(1);
    policies.write("10-odd.wasm", b"still no component");
    host.reload().await;
    check(2);
}

#[tokio::test]
async fn reload_keeps_the_last_good_policy() {
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
    // A request in progress keeps its generation.
    let (attachment, _) = before
        .begin(with_annotation())
        .before_add(storage())
        .await
        .unwrap();
    assert_eq!(conf_at(&attachment, "/mtu").as_deref(), Some("1400"));

    policies.write("10-mtu.wasm", b"broken");
    host.reload().await;
    let info = only(&host);
    assert_eq!(info.state, LoadState::Stale);
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
async fn host_without_policies_allows_everything() {
    let host = policy_engine::PolicyHost::empty();
    add(&host).before_add(storage()).await.unwrap();
    let host = Policies::new(COMPILER).load().await;
    add(&host).before_add(storage()).await.unwrap();
    host.current().status().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_not_empty() {
    let policies = Policies::new(COMPILER);
    let elsewhere = policies.path("elsewhere");
    let (mut modules, mut configs) = (policies.config(), policies.config());
    modules.module_dir.clone_from(&elsewhere);
    configs.config_dir = Some(elsewhere.clone());
    for config in [modules, configs] {
        let host = policy_engine::PolicyHost::load(config).await;
        let denied = add(&host).before_add(storage()).await.unwrap_err();
        assert!(denied.message.contains("elsewhere"), "{denied:?}");
        host.current().status().await.unwrap_err();
        std::fs::create_dir(&elsewhere).unwrap();
        host.reload().await;
        add(&host).before_add(storage()).await.unwrap();
        host.current().status().await.unwrap();
        std::fs::remove_dir(&elsewhere).unwrap();
    }
}

#[tokio::test]
async fn unchanged_policies_are_not_reloaded() {
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
