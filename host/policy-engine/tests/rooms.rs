//! The rooms of the policy engine stand on floors: a room imports only rooms on lower floors.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ENGINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The rooms, from the ground floor up. `fuzz` drives the transaction from outside.
const FLOORS: [&[&str]; 7] = [
    &["model"],
    &["config", "state", "transaction"],
    &["wasm"],
    &["pool", "record"],
    &["load"],
    &["compile", "fuzz", "run"],
    &["trial"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a file's code names in paths.
fn imported(code: &str) -> BTreeSet<&str> {
    let paths = code.split("crate::").skip(1);
    paths
        .map(|path| {
            let end = path.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            path.get(..end.unwrap_or(path.len())).unwrap()
        })
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn each_room_has_a_floor() {
    let mut rooms = BTreeSet::new();
    for entry in fs::read_dir(ENGINE).unwrap() {
        rooms.insert(entry.unwrap().file_name().into_string().unwrap());
    }
    let listed = FLOORS.iter().flat_map(|rooms| rooms.iter());
    let mut listed: BTreeSet<String> = listed.map(|room| (*room).to_owned()).collect();
    // Both belong to no room: the list of rooms, and threads, which know none of them.
    listed.extend(["lib.rs", "thread.rs"].map(str::to_owned));
    assert_eq!(rooms, listed);
}

#[test]
fn rooms_import_lower_floors_only() {
    let mut upward = BTreeSet::new();
    for room in FLOORS.into_iter().flatten() {
        for path in files(&Path::new(ENGINE).join(room)) {
            let code = fs::read_to_string(&path).unwrap();
            for other in imported(&code) {
                if other != *room && floor(other) >= floor(room) {
                    let path = path.strip_prefix(ENGINE).unwrap();
                    upward.insert(format!("{} imports {other}", path.display()));
                }
            }
            // Brace imports of whole rooms would hide from this test.
            assert!(!code.contains("crate::{"), "{}", path.display());
        }
    }
    assert_eq!(upward, BTreeSet::new());
}
