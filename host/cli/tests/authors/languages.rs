//! Projects in each language.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::exits;
use crate::suites::passed;

const HOOKS: &str = "select,validate-selections,before-add,validate-plan,after-add,finalize,\
    validate-result,add-failed,check,status,del,gc";

/// A new project with all hooks, built.
fn project(language: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let new = ["new", "trial-policy", "--lang", language, "--hooks", HOOKS];
    exits(0, dir.path(), &new);
    let project = dir.path().join("trial-policy");
    let built = exits(0, &project, &["build"]);
    assert!(
        built.contains("hooks   configure, select, validate-selections, before-add"),
        "{built}"
    );
    (dir, project)
}

/// Runs a project's policy on its own pod and networks.
fn run(code: i32, project: &Path) -> String {
    let run = ["run", "policy.wasm", "--config", "policy.json"];
    let on = ["--pod", "pod.yaml", "--nads", "nads.yaml"];
    exits(code, project, &[&run[..], &on].concat())
}

fn works(language: &str) {
    let (_dir, project) = project(language);
    let tested = exits(0, &project, &["test", "--coverage"]);
    assert!(tested.contains("coverage: 12 of 12 hooks\n"), "{tested}");
    assert!(passed(&tested) >= 20, "{tested}");
    exits(
        0,
        &project,
        &["check", "policy.wasm", "--config", "policy.json"],
    );
    let run = run(0, &project);
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

/// The version of the compiler that checks types.
const TYPESCRIPT: &str = "typescript@5.9.3";

/// Checks the types of a project in JavaScript.
fn types(project: &Path) -> Output {
    let tools = test_artifacts::directory("typescript");
    let tsc = tools.join("node_modules/typescript/bin/tsc");
    if !tsc.is_file() {
        std::fs::create_dir_all(&tools).unwrap();
        let installed = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(&tools)
            .arg(TYPESCRIPT)
            .output()
            .unwrap();
        assert!(installed.status.success(), "{installed:?}");
    }
    let check = ["--project", "jsconfig.json"];
    let mut node = Command::new("node");
    node.arg(tsc).args(check).current_dir(project);
    node.output().unwrap()
}

#[test]
fn types_of_javascript_are_those_of_the_wit() {
    let dir = tempfile::tempdir().unwrap();
    let new = ["new", "typed", "--lang", "js", "--hooks", HOOKS];
    exits(0, dir.path(), &new);
    let project = dir.path().join("typed");
    let checked = types(&project);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");

    let policy = std::fs::read_to_string(project.join("policy.js")).unwrap();
    let policy = policy
        .replace("attachment.setMtu(mtu)", "attachment.setMtu(String(mtu))")
        .replace("plan.length()", "plan.size()");
    std::fs::write(project.join("policy.js"), policy).unwrap();
    let checked = types(&project);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success(), "{said}");
    for error in [
        "type 'string' is not assignable to parameter of type 'number'",
        "Property 'size' does not exist on type 'Plan'",
    ] {
        assert!(said.contains(error), "{said}");
    }
}

/// Runs a project whose before-add hook has a mistake before a line, and checks that the trap names it.
fn names_the_line(language: &str, file: &str, (line, mistake): (&str, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let new = ["new", "lines", "--lang", language, "--hooks", "before-add"];
    exits(0, dir.path(), &new);
    let project = dir.path().join("lines");
    let policy = std::fs::read_to_string(project.join(file)).unwrap();
    let (before, after) = policy.split_once(line).unwrap();
    let number = before.lines().count() + 1;
    std::fs::write(
        project.join(file),
        format!("{before}{mistake}\n{line}{after}"),
    )
    .unwrap();
    exits(0, &project, &["build"]);
    let shown = run(3, &project);
    assert!(shown.contains("nowhere"), "{shown}");
    let places = [
        format!("{file}:{number}:"),
        format!("{file}\", line {number},"),
    ];
    assert!(
        places.iter().any(|place| shown.contains(place)),
        "{places:?} {shown}"
    );
}

#[test]
fn an_error_in_javascript_has_its_line() {
    let line = "    if (mtu === undefined || attachment.isDefault())";
    names_the_line("js", "policy.js", (line, "    nowhere.call(mtu);"));
}

#[test]
#[ignore = "takes half a minute"]
fn an_error_in_python_has_its_line() {
    let line = "        if mtu is None or attachment.is_default():";
    names_the_line("python", "policy.py", (line, "        nowhere.call(mtu)"));
}
