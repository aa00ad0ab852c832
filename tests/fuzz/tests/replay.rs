//! Runs the fuzz targets' seeds, as they are and mutated, on a stable compiler.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::path::Path;

use fuzz_entries::{ENTRIES, Entry};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The contents of a target's seed files.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(name);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_takes_its_seeds() {
    for (name, entry) in ENTRIES {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "{name} has too few seeds");
        seeds.iter().for_each(|seed| entry(seed));
    }
}

/// A mutation: what a disk, a bad cable or an attacker does to bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Double(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let pieces = prop_oneof![
        Just(b"null".to_vec()),
        Just(b"{}".to_vec()),
        Just(b"[[[[[[[[".to_vec()),
        Just(b"\"\\u0000\"".to_vec()),
        Just(b"-9223372036854775809".to_vec()),
        Just(vec![0xff; 3]),
        prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        index().prop_map(Change::Cut),
        (index(), index()).prop_map(|(from, to)| Change::Double(from, to)),
        (index(), pieces).prop_map(|(at, piece)| Change::Insert(at, piece)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let size = bytes.len() + 1;
        match self {
            Self::Flip(at, byte) => {
                if let Some(place) = bytes.get_mut(at.index(size)) {
                    *place ^= byte;
                }
            }
            Self::Cut(at) => bytes.truncate(at.index(size)),
            Self::Double(from, to) => {
                let (from, to) = (from.index(size), to.index(size));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, piece);
            }
            Self::Insert(at, piece) => {
                let at = at.index(size);
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}

fn changed_seeds((name, entry): Entry, cases: u32) {
    let inputs = (
        prop::sample::select(seeds(name)),
        prop::collection::vec(change(), 1..4),
    );
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&inputs, |(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes));
        entry(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn no_target_panics_on_changed_seeds() {
    for (name, entry) in ENTRIES {
        // Targets that need files or an engine are slower.
        let cases = match name {
            "policy_config" => 64,
            "ledger_file" => 512,
            _ => 4096,
        };
        changed_seeds((name, entry), cases);
    }
}
