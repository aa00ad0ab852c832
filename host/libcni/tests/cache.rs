//! The result cache, compared with files written by the Go library.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;
use cni_types::version::ConfVersion;
use libcni::Cache;
use libcni::cache::{Entry, Error, Key};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cache");

fn key(network: &str, container_id: &str, if_name: &str) -> Key {
    Key {
        network: NetworkName::new(network).unwrap(),
        container_id: ContainerId::new(container_id).unwrap(),
        if_name: IfName::new(if_name).unwrap(),
    }
}

/// A cache with copies of the recorded files.
fn recorded() -> (TempDir, Cache, Vec<String>) {
    let directory = TempDir::new().unwrap();
    let results = directory.path().join("results");
    fs::create_dir(&results).unwrap();
    let mut names = Vec::new();
    for file in fs::read_dir(RECORDED).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        fs::copy(Path::new(RECORDED).join(&name), results.join(&name)).unwrap();
        names.push(name);
    }
    names.sort();
    let cache = Cache::new(directory.path());
    (directory, cache, names)
}

/// The members that the Go library knows.
fn json(path: &Path) -> Value {
    let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    file.as_object_mut().unwrap().remove("sha256");
    file
}

#[test]
fn go_cache_entries_round_trip() {
    let (_directory, cache, names) = recorded();
    assert_eq!(names.len(), 6);
    let (entries, errors) = cache.list().unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    let listed: Vec<String> = entries.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(listed, names);
    for entry in entries {
        let path = cache.path(&entry.key);
        let before = json(&path);
        assert_eq!(cache.read(&entry.key).unwrap().as_ref(), Some(&entry));
        cache.write(&entry).unwrap();
        assert_eq!(json(&path), before);
    }
}

#[test]
fn go_cache_entries_suffice_for_del() {
    let (_directory, cache, _) = recorded();
    let entry = cache
        .read(&key("tr-list", "cid-tr", "net2"))
        .unwrap()
        .unwrap();
    let list = NetworkConfList::parse_any(&entry.config).unwrap();
    assert_eq!(list.plugins().len(), 2);
    let runtime = entry.runtime_conf();
    assert_eq!(runtime.netns, "/run/netns/g-tr");
    assert_eq!(runtime.args.get("MAC"), Some("02:aa:bb:cc:dd:01"));
    assert!(runtime.capability_args.contains_key("portMappings"));
    let result = entry.parsed_result(list.cni_version()).unwrap();
    assert_eq!(result.ips.len(), 2);
}

#[test]
fn a_file_from_before_the_format_is_a_result() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let key = key("n", "c", "eth0");
    fs::create_dir(directory.path().join("results")).unwrap();
    fs::write(
        cache.path(&key),
        r#"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.0.0.2/24"}]}"#,
    )
    .unwrap();
    let entry = cache.read(&key).unwrap().unwrap();
    assert!(entry.config.is_empty());
    assert_eq!(
        entry.parsed_result(ConfVersion::MISSING).unwrap().ips.len(),
        1
    );
}

#[test]
fn only_root_may_look_and_nothing_else_is_left() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path().join("new")).with_sync(true);
    let entry = entry("n", "c", "eth0");
    cache.write(&entry).unwrap();
    cache.write(&entry).unwrap();
    let results = directory.path().join("new/results");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&results), 0o700);
    assert_eq!(mode(&cache.path(&entry.key)), 0o600);
    assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
}

#[test]
fn a_missing_entry_is_none_and_removable() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let entry = entry("n", "c", "eth0");
    assert_eq!(cache.read(&entry.key).unwrap(), None);
    cache.remove(&entry.key).unwrap();
    assert!(cache.list().unwrap().0.is_empty());
    cache.write(&entry).unwrap();
    cache.remove(&entry.key).unwrap();
    assert_eq!(cache.read(&entry.key).unwrap(), None);
}

#[test]
fn corrupt_and_swapped_files_are_errors_and_stay() {
    let (directory, cache, names) = recorded();
    let key = key("n", "c", "eth0");
    let path = cache.path(&key);
    for text in [
        "",
        "{",
        "[]",
        r#"{"kind":"other"}"#,
        r#"{"kind":"cniCacheV1"}"#,
    ] {
        fs::write(&path, text).unwrap();
        assert!(
            matches!(cache.read(&key), Err(Error::Corrupt { .. })),
            "{text}"
        );
    }
    fs::copy(directory.path().join("results").join(&names[0]), &path).unwrap();
    assert!(matches!(cache.read(&key), Err(Error::Mismatch { .. })));
    let (entries, errors) = cache.list().unwrap();
    assert_eq!((entries.len(), errors.len()), (6, 1));
    assert!(path.exists());
}

#[test]
fn lookup_returns_only_own_entries() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let all = [
        ("n", "c", "eth0"),
        ("a-c-b", "d", "x"),
        ("n", "c", "net1"),
        ("n", "cc", "eth0"),
        ("n", "c-c", "eth0"),
    ];
    for (network, container_id, if_name) in all {
        cache.write(&entry(network, container_id, if_name)).unwrap();
    }
    fs::write(directory.path().join("results/n-other-eth0"), "broken").unwrap();
    let of = |id: &str| {
        let (entries, errors) = cache.of_container(&key("n", id, "x").container_id).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        let names = entries.iter().map(|entry| entry.key.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(of("c"), ["n-c-eth0", "n-c-net1"]);
    assert_eq!(of("c-c"), ["n-c-c-eth0"]);
    assert!(of("e").is_empty());
}

#[test]
fn path_traversal_in_an_entry_is_rejected() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    fs::create_dir(directory.path().join("results")).unwrap();
    let hostile = r#"{"kind":"cniCacheV1","containerId":"../x","config":"","ifName":"eth0","networkName":"n"}"#;
    fs::write(directory.path().join("results/n-x-eth0"), hostile).unwrap();
    let (entries, errors) = cache.list().unwrap();
    assert_eq!((entries.len(), errors.len()), (0, 1));
}

fn entry(network: &str, container_id: &str, if_name: &str) -> Entry {
    Entry {
        key: key(network, container_id, if_name),
        config: b"{ \"name\":\"n\" }\n".to_vec(),
        netns: String::new(),
        args: CniArgs::new(),
        capability_args: RawObject::new(),
        result: RawObject::parse(r#"{"n":12345678901234567890}"#).unwrap(),
        own: RawObject::new(),
    }
}

#[test]
fn empty_members_are_omitted_like_go() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let entry = entry("n", "c", "eth0");
    cache.write(&entry).unwrap();
    // The checksum equals the output of `tail --bytes=+76 FILE | sha256sum`.
    assert_eq!(
        fs::read_to_string(cache.path(&entry.key)).unwrap(),
        r#"{"sha256":"ed9169bacc44708ef666031f75ca09031574eab3f97abd8d34d5357d8edc9b3f","kind":"cniCacheV1","containerId":"c","config":"eyAibmFtZSI6Im4iIH0K","ifName":"eth0","networkName":"n","result":{"n":12345678901234567890}}"#
    );
}

#[test]
fn entry_without_checksum_is_read() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let entry = entry("n", "c", "eth0");
    cache.write(&entry).unwrap();
    let text = fs::read_to_string(cache.path(&entry.key)).unwrap();
    let (_, behind) = text.split_once(r#","kind""#).unwrap();
    for head in [r#"{"kind""#, r#"{"another":"x","kind""#] {
        fs::write(cache.path(&entry.key), format!("{head}{behind}")).unwrap();
        assert_eq!(cache.read(&entry.key).unwrap().as_ref(), Some(&entry));
        assert_eq!(cache.list().unwrap().0, std::slice::from_ref(&entry));
    }
}

#[test]
fn no_bit_of_an_entry_can_change_unnoticed() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let entry = entry("n", "c", "eth0");
    cache.write(&entry).unwrap();
    let path = cache.path(&entry.key);
    let text = fs::read(&path).unwrap();
    for position in 0..text.len() {
        for bit in 0..8 {
            let mut changed = text.clone();
            changed[position] ^= 1 << bit;
            fs::write(&path, &changed).unwrap();
            let read = cache.read(&entry.key);
            assert!(
                matches!(read, Err(Error::Changed { .. })),
                "bit {bit} of {position}: {read:?}"
            );
            let (entries, errors) = cache.list().unwrap();
            assert_eq!((entries.len(), errors.len()), (0, 1));
        }
        fs::write(&path, &text[..position]).unwrap();
        assert!(cache.read(&entry.key).is_err(), "{position} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_entry_is_read_as_it_was_written(
        network in "[a-z0-9][a-z0-9_.-]{0,20}",
        container_id in "[a-f0-9]{1,64}",
        if_name in "[a-z0-9.]{1,12}x",
        config in prop::collection::vec(any::<u8>(), 0..64),
        netns in ".{0,20}",
        args in prop::collection::vec(("[A-Z]{1,5}", "[^;\0]{0,8}"), 0..4),
        number in "[1-9][0-9]{0,30}",
    ) {
        let mut written = entry(&network, &container_id, &if_name);
        written.config = config;
        written.netns = netns;
        for (key, value) in &args {
            written.args.push(key, value).unwrap();
        }
        written.own = RawObject::parse(format!("{{\"n\":{number}}}")).unwrap();
        written.capability_args = RawObject::parse(format!("{{\"mac\":[ {number} ]}}")).unwrap();
        let directory = TempDir::new().unwrap();
        let cache = Cache::new(directory.path());
        cache.write(&written).unwrap();
        prop_assert_eq!(cache.read(&written.key).unwrap(), Some(written));
    }
}
