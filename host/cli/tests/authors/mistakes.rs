//! Mistakes of authors: each has one message, and its place.

use crate::{cnidaria, exits, fails};

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
    std::fs::write(dir.path().join("policy.json"), "\n").unwrap();
    let message = fails(dir.path(), &["check", &guest, "--config", "policy.json"]);
    let expected = "policy.json:1:1  expected a JSON object; the file is empty";
    assert!(message.contains(expected), "{message}");
    check(
        "{\n  \"mod\": \"audit\"\n}\n",
        "policy.json:2:3  mod: unknown key; did you mean \"mode\"?",
    );
    check(
        "{\"settings\": {\n  \"nameservers\": [7]}}",
        "policy.json:2:19  settings.nameservers[0]: invalid type: integer `7`, expected a string",
    );
}

#[test]
fn a_limit_that_is_too_small_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let text = "{\"settings\": {\"search\": [\"a\"]},\n  \"limits\": {\"memoryBytes\": 5}}";
    std::fs::write(dir.path().join("policy.json"), text).unwrap();
    let guest = guest.to_string_lossy();
    let check = ["check", &guest, "--config", "policy.json"];
    let shown = exits(1, dir.path(), &check);
    assert!(
        shown.starts_with("policy.json:2:14  limits.memoryBytes: "),
        "{shown}"
    );
}

#[test]
fn a_hook_that_the_module_lacks_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let text = "name: a\n---\nname: b\nexpect: {hook: finalize}\n";
    std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
    let test = ["test", ".", "--module", &guest.to_string_lossy()];
    let message = fails(dir.path(), &test);
    let expected = "cases.yaml:4:16  expect.hook: the module does not have the hook \"finalize\"; it has configure, before-add";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn refused_settings_of_a_case_have_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let text = "name: a\nsettings: { serach: [a] }\n";
    std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
    let test = ["test", ".", "--module", &guest.to_string_lossy()];
    let shown = exits(3, dir.path(), &test);
    let expected = "cases.yaml:2:11  settings: unknown key \"serach\"; did you mean \"search\"?\n";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_directory_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cases.yaml"), "name: a\n").unwrap();
    let message = fails(dir.path(), &["test", "absent"]);
    assert!(message.contains("absent does not exist\n"), "{message}");
    let message = fails(dir.path(), &["test", "cases.yaml"]);
    let expected = "cases.yaml is not a directory: name the module of its cases with --module";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_suite_that_tests_nothing_fails() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let guest = guest.to_string_lossy();
    let run = |more: &[&str]| {
        let arguments = [&["test", ".", "--module", &guest], more].concat();
        fails(dir.path(), &arguments)
    };
    std::fs::write(dir.path().join("cases.yaml"), "# nothing yet\n").unwrap();
    let message = run(&[]);
    assert!(
        message.contains("cases.yaml: no document is a case"),
        "{message}"
    );
    let case = "name: a\nsettings: { search: [a] }\n";
    std::fs::write(dir.path().join("cases.yaml"), case).unwrap();
    let message = run(&["--filter", "b"]);
    assert!(message.contains("has \"b\" in its name"), "{message}");
}

#[test]
fn a_wrong_configuration_of_a_case_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let guest = guest.to_string_lossy();
    let check = |text: &str, expected: &str| {
        std::fs::write(dir.path().join("cases.yaml"), text).unwrap();
        let message = fails(dir.path(), &["test", ".", "--module", &guest]);
        assert!(message.contains(expected), "{message}");
    };
    check(
        "name: a\nconfig: { grnts: [clock] }\n",
        "cases.yaml:2:18  config.grnts: unknown key; did you mean \"grants\"?",
    );
    check(
        "defaults:\n  config: { mode: audt }\n---\nname: a\nsettings: { search: [a] }\n",
        "cases.yaml:2:19  config.mode: unknown value",
    );
}

#[test]
fn mistakes_in_manifests_have_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let guest = guest.to_string_lossy();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("policy.json", "{\"settings\": {\"search\": [\"a\"]}}");
    let run = |more: &[&str]| {
        let run = [
            "run",
            &guest,
            "--config",
            "policy.json",
            "--pod",
            "pod.yaml",
        ];
        fails(dir.path(), &[&run[..], more].concat())
    };
    for (text, expected) in [
        (
            "kind: Pod\nkind: Pod\n",
            "pod.yaml:2:1  \"kind\" is given more than once",
        ),
        (
            "kind: Pod\nmetadata:\n  name: a\n  annotations: { a: [b] }\n",
            "pod.yaml:4:21  metadata.annotations.a: expected a text",
        ),
    ] {
        write("pod.yaml", text);
        let message = run(&[]);
        assert!(message.contains(expected), "{message}");
    }
    write(
        "pod.yaml",
        "apiVersion: v1\nkind: Pood\nmetadata: {name: a}\n",
    );
    let message = run(&[]);
    let expected = "pod.yaml:2:7  kind: expected a Pod, not \"Pood\"; did you mean \"Pod\"?";
    assert!(message.contains(expected), "{message}");
    write("pod.yaml", "kind: Pod\nmetdata: {name: a}\n");
    let message = run(&[]);
    let expected = "pod.yaml:2:10  metadata.name: the pod has no name; did you mean \"metadata\" instead of \"metdata\"?";
    assert!(message.contains(expected), "{message}");
    write("pod.yaml", "kind: Pod\nmetadata: {nmae: a}\n");
    let message = run(&[]);
    let expected = "pod.yaml:2:11  metadata.name: the pod has no name; did you mean \"name\"";
    assert!(message.contains(expected), "{message}");

    write("pod.yaml", "kind: Pod\nmetadata: {name: a}\n");
    let message = run(&["--nads", "pod.yaml"]);
    let expected = "pod.yaml:1:7  kind: expected a NetworkAttachmentDefinition, not \"Pod\"";
    assert!(message.contains(expected), "{message}");
    write("empty.yaml", "");
    let message = run(&["--nads", "empty.yaml"]);
    let expected = "empty.yaml has no object of kind NetworkAttachmentDefinition";
    assert!(message.contains(expected), "{message}");
    write("result.json", "{\n  \"ips\": [{\"address\": \"x\"}]\n}\n");
    let message = run(&["--delegate", "result.json"]);
    assert!(
        message.contains("result.json:2:23  invalid ips[0].address"),
        "{message}"
    );
    write("result.json", "{\"ipz\": []}");
    let message = run(&["--delegate", "result.json"]);
    let expected = "result.json:1:2  unknown member \"ipz\"; known are";
    assert!(message.contains(expected), "{message}");
    write("conf.json", "{\"cniVersion\": \"1.0.0\"}");
    let message = run(&["--default-network", "conf.json"]);
    assert!(message.contains("conf.json:1:1  "), "{message}");
}

#[test]
fn mistakes_in_a_project_have_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let edit = |language: &str, file: &str, (from, to): (&str, &str), expected: &str| {
        let project = dir.path().join(language);
        if !project.is_dir() {
            let new = ["new", "trial", "--lang", language, "--dir", language];
            exits(
                0,
                dir.path(),
                &[&new[..], &["--hooks", "before-add"]].concat(),
            );
        }
        let path = project.join(file);
        let right = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, right.replace(from, to)).unwrap();
        let message = fails(&project, &["build"]);
        assert!(message.contains(expected), "{language}: {message}");
        std::fs::write(&path, right).unwrap();
    };
    let hook = ("policy/before-add", "policy/befor-add");
    for language in ["js", "python", "c"] {
        edit(
            language,
            "wit/policy.wit",
            hook,
            "unknown interface \"befor-add\"; did you mean \"before-add\"?",
        );
    }
    edit(
        "js",
        "policy.js",
        ("const beforeAdd", "const befreAdd"),
        "the hook before-add needs `export const beforeAdd`, not \"befreAdd\"",
    );
    edit(
        "js",
        "package.json",
        ("\"build\"", "\"biuld\""),
        "package.json:6:5  scripts: ",
    );
    edit(
        "python",
        "policy.py",
        ("def before_add", "def befor_add"),
        "the class `BeforeAdd` needs a function `before_add`, not \"befor_add\"",
    );
    let output = cnidaria(dir.path(), &["new", "vlan_guard"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did you mean \"vlan-guard\"?"), "{said}");
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
fn wrong_usage_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    exits(2, dir.path(), &["new", "Upper"]);
    exits(2, dir.path(), &["new", "x", "--hooks", "befor-add"]);
    exits(2, dir.path(), &["run"]);
    let run = ["run", "a.wasm", "--pod", "a.yaml", "--output", "json"];
    let refused = cnidaria(dir.path(), &run);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("no JSON output"), "{message}");
    exits(1, dir.path(), &["build"]);
    exits(
        1,
        dir.path(),
        &["check", "absent.wasm", "--config", "absent.json"],
    );
}

#[test]
fn a_wrong_file_has_one_message_with_its_place() {
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
fn a_file_that_is_not_utf_8_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("dns-inject");
    let guest = guest.to_string_lossy();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write(
        "policy.json",
        b"{\"settings\": {\n  \"search\": [\"caf\xe9\"]}}",
    );
    let message = fails(dir.path(), &["check", &guest, "--config", "policy.json"]);
    let place = "policy.json:2:18  expected text in UTF-8, not the byte 0xe9";
    assert!(message.contains(place), "{message}");
    write("cases.yaml", b"name: caf\xe9\n");
    write("policy.json", b"{\"settings\": {\"search\": [\"a\"]}}");
    let message = fails(dir.path(), &["test", ".", "--module", &guest]);
    assert!(message.contains("cases.yaml:1:10  expected"), "{message}");
    write("pod.yaml", b"kind: Pod\nmetadata: {name: caf\xe9}\n");
    let run = [
        "run",
        &guest,
        "--config",
        "policy.json",
        "--pod",
        "pod.yaml",
    ];
    let message = fails(dir.path(), &run);
    assert!(message.contains("pod.yaml:2:21  expected"), "{message}");
}

#[test]
fn a_module_that_does_not_load_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = wat::parse_str(r#"(component (import "unknown:a/b" (instance)))"#).unwrap();
    std::fs::write(dir.path().join("text.wasm"), "text").unwrap();
    std::fs::write(dir.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(dir.path().join("unknown.wasm"), unknown).unwrap();
    std::fs::write(dir.path().join("empty.wasm"), "").unwrap();
    std::fs::write(dir.path().join("policy.json"), "{}").unwrap();
    for (module, expected) in [
        ("text.wasm", "no WebAssembly: it begins with \"text\""),
        ("empty.wasm", "no WebAssembly: the file is empty"),
        ("core.wasm", "a core module, not a component"),
        ("unknown.wasm", "imports unknown:a/b"),
    ] {
        let output = cnidaria(dir.path(), &["inspect", module]);
        assert_eq!(output.status.code(), Some(1), "{module}: {output:?}");
        let message = fails(dir.path(), &["compile", module, "--out", "artefact"]);
        assert!(message.contains(module), "{message}");
        assert!(message.contains(expected), "{message}");
        // The fault is the module's, not the configuration's.
        let output = cnidaria(dir.path(), &["check", module, "--config", "policy.json"]);
        assert_eq!(output.status.code(), Some(1), "{module}: {output:?}");
        let both = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&both);
        assert!(said.contains(module) && said.contains(expected), "{said}");
        assert!(!said.contains("policy.json"), "{said}");
        assert!(!dir.path().join("artefact").exists(), "{module}");
    }
}
