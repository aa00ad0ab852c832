//! The commands of `docs/policies/first-policy.md`, word for word.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/policies/first-policy.md");

/// Variables of the cargo that runs this test, which would affect the build of the project.
const NOT_FOR_PROJECTS: [&str; 6] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// The shell commands of a page, in order.
fn commands(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect()
}

#[test]
fn the_commands_of_the_first_policy_work() {
    let dir = tempfile::tempdir().unwrap();
    let script = commands(PAGE);
    for command in ["new", "build", "test", "run", "check"] {
        assert!(
            script.contains(&format!("cnidaria policy {command}")),
            "{script}"
        );
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_cnidaria")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    for key in NOT_FOR_PROJECTS {
        shell.env_remove(key);
    }
    let output = shell
        .args(["-euxc", &script])
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("CARGO_TARGET_DIR", test_artifacts::directory("projects"))
        .env("NO_COLOR", "1")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains(" 0 failed"), "{stdout}");
    assert!(stdout.contains("policy.json is valid"), "{stdout}");
}
