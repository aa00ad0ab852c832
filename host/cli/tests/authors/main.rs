//! What authors of policies do with the binary alone: create, build, check, run and test a policy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod languages;
mod mistakes;
mod modules;
mod suites;

use std::path::Path;
use std::process::Output;

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

pub(crate) fn cnidaria(dir: &Path, arguments: &[&str]) -> Output {
    test_artifacts::outside_of_cargo(env!("CARGO_BIN_EXE_cnidaria"))
        .env("CARGO_TARGET_DIR", test_artifacts::directory("projects"))
        .env("NO_COLOR", "1")
        .arg("policy")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Runs a command that exits with `code`, and returns its standard output.
pub(crate) fn exits(code: i32, dir: &Path, arguments: &[&str]) -> String {
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

/// A command that fails with code 1, and its error.
pub(crate) fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = cnidaria(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    stderr
}
