//! The core reaches the outside through its ports only.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;

const MANIFEST: &str = include_str!("../Cargo.toml");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

#[test]
fn the_core_depends_on_no_outside_world() {
    let dependencies = MANIFEST.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next())
        .collect();
    assert!(names.contains(&"tokio"), "{names:?}");
    for name in [
        "files",
        "h2",
        "hyper",
        "inotify",
        "k8s-openapi",
        "kube",
        "libc",
        "libcni",
        "policy-engine",
        "rtnetlink",
        "rustix",
        "wasmtime",
    ] {
        assert!(!names.contains(&name), "{name}");
    }
    let tokio = dependencies.lines().find(|line| line.starts_with("tokio"));
    for feature in ["fs", "io-util", "net", "process", "signal"] {
        assert!(
            !tokio.unwrap().contains(&format!("\"{feature}\"")),
            "{feature}"
        );
    }
}

#[test]
fn the_core_reads_no_files() {
    let mut dirs = vec![PathBuf::from(SOURCES)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for outside in [
                "std::fs",
                "std::env::",
                "std::process",
                "std::net::Tcp",
                ".exists()",
            ] {
                assert!(!text.contains(outside), "{}: {outside}", path.display());
            }
        }
    }
}
