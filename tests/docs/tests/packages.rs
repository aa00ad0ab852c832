//! What is published: which crates, and that the SDK's package is complete.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cnidaria_docs_tests::ROOT;
use serde_json::Value;

/// Cargo's output. Needs no network.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--offline")
        .current_dir(ROOT)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_release_packs_what_is_published() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata.get("packages").and_then(Value::as_array).unwrap();
    let published: BTreeSet<_> = packages
        .iter()
        .filter(|package| package.get("publish").is_some_and(Value::is_null))
        .map(|package| package.get("name").and_then(Value::as_str).unwrap())
        .collect();
    let script = fs::read_to_string(Path::new(ROOT).join("deploy/release/package")).unwrap();
    let packed: BTreeSet<_> = script
        .split("--package ")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    assert_eq!(packed, published);
}

#[test]
fn the_sdks_package_has_the_wit_files() {
    let files = cargo(&[
        "package",
        "--list",
        "--allow-dirty",
        "--package",
        "cnidaria-guest-sdk",
    ]);
    let packed: BTreeSet<_> = files
        .lines()
        .filter(|file| file.starts_with("wit/"))
        .collect();
    let sources = fs::read_dir(Path::new(ROOT).join("wit/policy-0.3.0")).unwrap();
    let names: BTreeSet<_> = sources
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| format!("wit/{name}"))
        .collect();
    assert_eq!(packed, names.iter().map(String::as_str).collect());
    assert!(
        files.lines().all(|file| !file.starts_with("python")),
        "{files}"
    );
}
