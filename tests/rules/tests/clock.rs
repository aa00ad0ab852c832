//! The wall clock may jump: code may read it only for times that people see or that come from
//! another machine. Deadlines, retries and pauses use the monotonic clock.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host");

/// The files that may read it, and why.
const MAY: [(&str, &str); 9] = [
    (
        "cli/src/attachments.rs",
        "the age of an undo, as it is shown",
    ),
    (
        "kube/src/access.rs",
        "whether a certificate is valid",
    ),
    (
        "kube/src/certificate/mod.rs",
        "when a certificate is renewed",
    ),
    ("kube/src/events.rs", "the times of Events"),
    (
        "kube/src/plugin.rs",
        "how long a plugin's credential is good for",
    ),
    ("daemon/src/log/rotating.rs", "names of old log files"),
    (
        "core/src/pipeline/retries.rs",
        "since when something is to be undone, as it is shown",
    ),
    (
        "policy-engine/src/artifact/unused.rs",
        "the age of a compiled module: one that goes too early is compiled again",
    ),
    (
        "policy-engine/src/imports/granted.rs",
        "policies with the grant to read it",
    ),
];

/// A file's code, without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next();
    code.unwrap_or_default().to_owned()
}

fn reads_wall_clock(code: &str) -> bool {
    [
        "SystemTime::now",
        "Timestamp::now",
        "Zoned::now",
        "Utc::now",
    ]
    .iter()
    .any(|call| code.contains(call))
}

#[test]
fn the_wall_clock_is_read_only_where_a_jump_does_no_harm() {
    let mut pending: Vec<PathBuf> = fs::read_dir(HOST)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .filter(|path| path.is_dir())
        .collect();
    let mut reading = BTreeSet::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if reads_wall_clock(&code(&path)) {
                let relative = path.strip_prefix(HOST).unwrap();
                reading.insert(relative.display().to_string());
            }
        }
    }
    let may: BTreeSet<String> = MAY.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(reading, may);
}
