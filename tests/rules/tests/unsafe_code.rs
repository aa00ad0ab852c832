//! Unsafe code is only where `host/ARCHITECTURE.md` lists it. The compiler denies it in every crate
//! that inherits the workspace's lints; this test finds the exceptions.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The list's header.
const HEAD: &str = "| unsafe code in | for |";

/// Files with this ending in the workspace's directories, relative to its root.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut pending: Vec<PathBuf> = ["host", "guest-sdk", "plugins", "tests"]
        .map(|name| Path::new(ROOT).join(name))
        .into();
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && entry.file_name() != "target" {
                pending.push(path);
            } else if kind.is_file() && path.to_string_lossy().ends_with(ending) {
                found.push(path.strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    found
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The list's first column.
fn listed() -> BTreeSet<PathBuf> {
    let page = text("host/ARCHITECTURE.md");
    let rows = page.split_once(HEAD).unwrap().1.lines().skip(2);
    rows.take_while(|row| row.starts_with('|'))
        .map(|row| row.split('`').nth(1).unwrap().into())
        .collect()
}

#[test]
fn it_is_only_where_it_is_listed() {
    // In two parts, because this file is checked as well.
    let exception = concat!("unsafe", "_code");
    let with: BTreeSet<PathBuf> = files(".rs")
        .into_iter()
        .filter(|path| !path.starts_with("tests/rules"))
        .filter(|path| {
            let text = text(path);
            text.contains(exception) || text.contains(concat!("unsafe", " {"))
        })
        .collect();
    assert_eq!(with, listed());
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let without: Vec<_> = files("Cargo.toml")
        .into_iter()
        .filter(|path| !text(path).contains("[lints]\nworkspace = true"))
        // Not in the workspace: the fuzzer's own compiler builds it.
        .filter(|path| path != Path::new("tests/fuzz/fuzz/Cargo.toml"))
        .collect();
    assert!(without.is_empty(), "{without:?}");
    let workspace = text("Cargo.toml");
    assert!(workspace.contains("unsafe_code = \"deny\""));
}

#[test]
fn every_block_says_why_it_is_sound() {
    for path in listed() {
        let text = text(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (at, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(concat!("unsafe", " {")))
        {
            let above = lines.get(at.saturating_sub(8)..at).unwrap_or_default();
            let says = above.iter().any(|line| line.contains("// SAFETY:"));
            assert!(says, "{}: line {}", path.display(), at + 1);
        }
    }
}
