//! What authors of policies do with the binary alone: create, build, check, run and test a policy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Variables of the cargo that runs this test, which would affect the build of a project.
const NOT_FOR_PROJECTS: [&str; 6] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn cnidaria(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnidaria"));
    for key in NOT_FOR_PROJECTS {
        command.env_remove(key);
    }
    command
        .env("CARGO_TARGET_DIR", test_artifacts::directory("projects"))
        .env("NO_COLOR", "1")
        .arg("policy")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Runs a command that exits with `code`, and returns its standard output.
fn exits(code: i32, dir: &Path, arguments: &[&str]) -> String {
    let output = cnidaria(dir, arguments);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {stdout}{stderr}"
    );
    stdout
}

/// A new project with all hooks, built.
fn project(language: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let hooks = "select,before-add,after-add,finalize,check,status,del,gc";
    let new = ["new", "trial-policy", "--lang", language, "--hooks", hooks];
    exits(0, dir.path(), &new);
    let project = dir.path().join("trial-policy");
    let built = exits(0, &project, &["build"]);
    assert!(
        built.contains("hooks   configure, select, before-add"),
        "{built}"
    );
    (dir, project)
}

fn works(language: &str) {
    let (_dir, project) = project(language);
    let tested = exits(0, &project, &["test", "--coverage"]);
    assert!(tested.contains("coverage: 8 of 8 hooks\n"), "{tested}");
    exits(
        0,
        &project,
        &["check", "policy.wasm", "--config", "policy.json"],
    );
    let run = [
        "run",
        "policy.wasm",
        "--config",
        "policy.json",
        "--pod",
        "pod.yaml",
    ];
    let run = exits(0, &project, &[&run[..], &["--nads", "nads.yaml"]].concat());
    assert!(run.contains("edit: /conf/mtu = 9000"), "{run}");
}

#[test]
fn a_new_rust_project_builds_and_passes() {
    works("rust");
}

#[test]
fn a_new_javascript_project_builds_and_passes() {
    works("js");
}

#[test]
fn a_new_c_project_builds_and_passes() {
    works("c");
}

/// Compiling 18 MB takes half a minute.
#[test]
#[ignore = "takes half a minute"]
fn a_new_python_project_builds_and_passes() {
    works("python");
}

/// The suite of a policy that ships, run as an author would.
fn suite(name: &str) -> String {
    let guest = test_artifacts::guest(name);
    let dir = format!("plugins/{name}");
    let guest = guest.to_string_lossy();
    let arguments = ["test", &dir, "--module", &guest, "--coverage"];
    exits(0, Path::new(ROOT), &arguments)
}

#[test]
fn the_shipped_policies_pass_their_cases() {
    for name in ["address-guard", "annotation-mtu", "dns-inject"] {
        let text = suite(name);
        let passed = text.split(" passed").next().unwrap();
        assert!(passed.parse::<u32>().unwrap() >= 20, "{name}: {text}");
        assert!(!text.contains("no case reaches"), "{name}: {text}");
    }
}

#[test]
fn a_failing_case_is_a_diff_and_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let text = "name: wrong\npod: {annotations: {cnidaria.dev/mtu: eth0=9000}}\nexpect: {edits: {eth0: {/conf/mtu: 1500}}}\n";
    std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
    let guest = guest.to_string_lossy();
    let report = dir.path().join("report.xml");
    let report_arg = report.to_string_lossy();
    let arguments = ["test", ".", "--module", &guest, "--junit", &report_arg];
    let shown = exits(3, dir.path(), &arguments);
    assert!(shown.contains("-     /conf/mtu: 1500\n"), "{shown}");
    assert!(shown.contains("+     /conf/mtu: 9000\n"), "{shown}");
    let report = std::fs::read_to_string(&report).unwrap();
    assert!(report.contains("failures=\"1\""), "{report}");
}

#[test]
fn a_mistake_in_a_case_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    std::fs::write(dir.path().join("cases.yaml"), "pod: {}\nexpct: {}\n").unwrap();
    let output = cnidaria(
        dir.path(),
        &["test", ".", "--module", &guest.to_string_lossy()],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cases.yaml:2:1  unknown key \"expct\"; did you mean \"expect\"?"),
        "{said}"
    );
}

#[test]
fn a_wrong_configuration_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let guest = guest.to_string_lossy();
    let check = |text: &str, expected: &str| {
        std::fs::write(dir.path().join("policy.json"), text).unwrap();
        let shown = exits(1, dir.path(), &["check", &guest, "--config", "policy.json"]);
        assert_eq!(shown.trim_end(), expected);
    };
    check(
        "{\n  \"mode\": \"audit\",\n  \"settings\": {\n    \"serach\": [\"a\"]\n  }\n}\n",
        "policy.json:4:5  settings: unknown key \"serach\"; did you mean \"search\"?",
    );
    check(
        "{\n  \"mod\": \"audit\"\n}\n",
        "policy.json:2:3  mod: unknown key; did you mean \"mode\"?",
    );
    check(
        "{\"settings\": {\n  \"nameservers\": [7]}}",
        "policy.json:2:19  settings: invalid type: integer `7`, expected a string",
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let text = r#"{"settings":{"search":["a"]},"match":{"namespaces":["team-b","team-*"]},
        "grants":["clock"],"limits":{"stateKeys":5}}"#;
    std::fs::write(dir.path().join("policy.json"), text).unwrap();
    std::fs::create_dir(dir.path().join("m")).unwrap();
    let pod = "kind: Pod\nmetadata: {name: a, namespace: team-a}\n";
    std::fs::write(dir.path().join("m/pod.yaml"), pod).unwrap();
    let guest = guest.to_string_lossy();
    let arguments = [
        "check",
        &guest,
        "--config",
        "policy.json",
        "--manifests",
        "m",
    ];
    let shown = exits(0, dir.path(), &arguments);
    let warnings = [
        "warning: match.namespaces \"team-b\": no such namespace in m",
        "warning: grants \"clock\": the module does not import it",
        "warning: limits.stateKeys: no effect, the grant state is not given",
    ];
    for warning in warnings {
        assert!(shown.contains(warning), "{shown}");
    }
    assert!(!shown.contains("team-*"), "{shown}");
}

#[test]
fn a_denied_run_exits_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let pod = "kind: Pod\nmetadata: {name: a, annotations: {cnidaria.dev/mtu: eth0=1}}\n";
    std::fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    let guest = guest.to_string_lossy();
    let shown = exits(3, dir.path(), &["run", &guest, "--pod", "pod.yaml"]);
    assert!(shown.contains("before-add  eth0 default"), "{shown}");
    assert!(
        shown.contains("DENY 111 annotation cnidaria.dev/mtu asks for MTU 1"),
        "{shown}"
    );
    assert!(shown.contains(" of 16 MiB, 0 of 32 log lines"), "{shown}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    exits(2, dir.path(), &["new", "Upper"]);
    exits(2, dir.path(), &["new", "x", "--hooks", "befor-add"]);
    exits(2, dir.path(), &["run"]);
    exits(1, dir.path(), &["build"]);
    exits(
        1,
        dir.path(),
        &["check", "absent.wasm", "--config", "absent.json"],
    );
}

/// A command that fails with code 1, and its error.
fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = cnidaria(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    stderr
}

#[test]
fn each_wrong_file_has_one_message_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let guest = guest.to_string_lossy();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("cases.yaml", "pod: {}\n");
    write("policy.json", "{\n  \"mode\": \"audt\"\n}\n");
    let expected = "policy.json:2:11  mode: unknown value, expected one of `enforce`, `audit`, `off`; did you mean \"audit\"?";
    for command in [
        &["test", ".", "--module", &guest][..],
        &["bench", &guest, "--config", "policy.json"],
        &[
            "replay",
            "none.rec",
            "--module",
            &guest,
            "--config",
            "policy.json",
        ],
    ] {
        let message = fails(dir.path(), command);
        assert!(message.contains(expected), "{command:?}: {message}");
    }
    write(
        "pod.yaml",
        "kind: Pod\napiVersion: v1\nmetadata: {name: a}\n",
    );
    write("result.json", "{\"ips\":\n  [}\n");
    let run = [
        "run",
        &guest,
        "--pod",
        "pod.yaml",
        "--delegate",
        "result.json",
    ];
    let message = fails(dir.path(), &run);
    assert!(
        message.contains("result.json:2:4  expected value"),
        "{message}"
    );
    write("none.rec", "{}");
    let message = fails(dir.path(), &["replay", "none.rec", "--module", &guest]);
    assert!(message.contains("none.rec is not a recording"), "{message}");
}

#[test]
fn a_module_that_does_not_load_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = wat::parse_str(r#"(component (import "unknown:a/b" (instance)))"#).unwrap();
    std::fs::write(dir.path().join("text.wasm"), "text").unwrap();
    std::fs::write(dir.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(dir.path().join("unknown.wasm"), unknown).unwrap();
    for module in ["text.wasm", "core.wasm", "unknown.wasm"] {
        let output = cnidaria(dir.path(), &["inspect", module]);
        assert_eq!(output.status.code(), Some(1), "{module}: {output:?}");
        fails(dir.path(), &["compile", module, "--out", "artefact"]);
        assert!(!dir.path().join("artefact").exists(), "{module}");
    }
}

#[test]
fn modules_are_measured_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (
        test_artifacts::guest("annotation-mtu"),
        test_artifacts::guest("address-guard"),
    );
    let (old, new) = (old.to_string_lossy(), new.to_string_lossy());
    let text = exits(0, dir.path(), &["inspect", &new, "--diff", &old]);
    assert!(text.contains("hooks\n  + select\n"), "{text}");
    let same = exits(0, dir.path(), &["inspect", &new, "--diff", &new]);
    assert_eq!(same, "no difference\n");
    let json = exits(
        0,
        dir.path(),
        &["inspect", &new, "--diff", &old, "--output", "json"],
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hooks"]["added"][0], "select", "{json:#}");

    let bench = ["bench", &old, "--rounds", "3"];
    let text = exits(0, dir.path(), &bench);
    assert!(text.contains("before-add           6 "), "{text}");
    let json = exits(0, dir.path(), &[&bench[..], &["--output", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hooks"]["before-add"]["calls"], 6, "{json:#}");
}

#[test]
fn grants_for_edits_that_no_case_uses_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("witness");
    let text = r#"defaults:
  config: { grants: [state, change-type, rewrite-result], allowTypes: [ptp] }
---
name: a type is changed
settings: { before-add: [{ conf-set: [/type, '"ptp"'] }] }
expect: { conf: { eth0: { /type: ptp } } }
---
name: nothing is edited
settings: {}
"#;
    std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
    let guest = guest.to_string_lossy();
    let text = exits(
        0,
        dir.path(),
        &["test", ".", "--module", &guest, "--coverage"],
    );
    let expected = "coverage: 1 of 3 grants; no case reaches rewrite-result, state\n";
    assert!(text.contains(expected), "{text}");
}
