//! A released version of the WIT package never changes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// One digest over the names and contents of a version's files.
fn digest(version: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(version)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut all = Sha256::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        all.update(format!(
            "{name} {:x}\n",
            Sha256::digest(fs::read(&file).unwrap())
        ));
    }
    format!("{:x}", all.finalize())
}

#[test]
fn shipped_versions_are_as_they_were() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let shipped: BTreeMap<String, String> = fs::read_to_string(wit.join("shipped"))
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (digest, version) = line.split_once("  ").unwrap();
            (version.to_owned(), digest.to_owned())
        })
        .collect();
    for (version, expected) in &shipped {
        assert_eq!(
            digest(&wit.join(version)),
            *expected,
            "{version} was shipped and must not change: make a new version beside it"
        );
    }
    let versions = fs::read_dir(&wit).unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        entry
            .path()
            .is_dir()
            .then(|| entry.file_name().to_string_lossy().into_owned())
    });
    for version in versions {
        assert!(
            shipped.contains_key(&version),
            "{version} is not in wit/shipped: {}",
            digest(&wit.join(&version))
        );
    }
}
