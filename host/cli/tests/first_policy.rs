//! The commands of the documentation for authors, word for word.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

const FIRST_POLICY: &str = include_str!("../../../docs/policies/first-policy.md");
const TESTING: &str = include_str!("../../../docs/policies/testing.md");

/// The blocks of a page in a language, in order.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("\n```{language}\n");
    let blocks = page.split(fence.as_str()).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect()
}

/// Runs a script in a directory. Returns its standard output.
fn run(dir: &Path, script: &str) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_cnidaria")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = test_artifacts::outside_of_cargo("sh")
        .args(["-euxc", script])
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("CARGO_TARGET_DIR", test_artifacts::directory("projects"))
        .env("NO_COLOR", "1")
        .current_dir(dir)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}

#[test]
fn the_commands_of_the_pages_work() {
    let dir = tempfile::tempdir().unwrap();
    let script = blocks(FIRST_POLICY, "sh").concat();
    for command in ["new", "build", "test", "run", "check"] {
        assert!(
            script.contains(&format!("cnidaria policy {command}")),
            "{script}"
        );
    }
    let stdout = run(dir.path(), &script);
    assert!(stdout.contains(" 0 failed"), "{stdout}");
    assert!(stdout.contains("policy.json is valid"), "{stdout}");

    // The page about tests has cases for the same policy.
    let project = dir.path().join("mtu-guard");
    let cases = blocks(TESTING, "yaml").concat();
    std::fs::write(project.join("tests/cases/page.yaml"), cases).unwrap();
    let stdout = run(&project, "cnidaria policy test");
    assert!(stdout.contains(" 0 failed"), "{stdout}");
    let script = blocks(TESTING, "sh").concat();
    let stdout = run(&project, &format!("cp policy.wasm old.wasm\n{script}"));
    assert!(stdout.contains("before-add"), "{stdout}");
    assert!(stdout.ends_with("no difference\n"), "{stdout}");

    // The mistake that the first page shows.
    let mistake = blocks(FIRST_POLICY, "text").concat();
    shows_the_mistake(&project, mistake.trim_end());
}

/// Misspells the setting `mtu`: the message is that of the page.
fn shows_the_mistake(project: &Path, expected: &str) {
    let path = project.join("policy.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"mtu\"", "\"mtuu\"")).unwrap();
    let check = "cnidaria policy check policy.wasm --config policy.json || true";
    assert_eq!(run(project, check).trim_end(), expected);
}
