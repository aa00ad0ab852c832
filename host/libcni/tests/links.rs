//! Symlinks in the result cache. A separate test binary: temporary files are numbered per process,
//! and other tests' writes would be counted too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
use cni_types::json::RawObject;
use libcni::cache::{Cache, Entry, Error, Key};
use tempfile::TempDir;

#[test]
fn links_are_neither_read_nor_written_through() {
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    let precious = directory.path().join("precious");
    fs::write(&precious, "{}").unwrap();
    let key = Key {
        network: NetworkName::new("n").unwrap(),
        container_id: ContainerId::new("c").unwrap(),
        if_name: IfName::new("eth0").unwrap(),
    };
    let entry = Entry {
        key: key.clone(),
        config: Vec::new(),
        netns: String::new(),
        args: CniArgs::new(),
        capability_args: RawObject::new(),
        result: RawObject::new(),
        own: RawObject::new(),
    };
    fs::create_dir(directory.path().join("results")).unwrap();
    symlink(&precious, cache.path(&key)).unwrap();
    assert!(matches!(cache.read(&key), Err(Error::Io { .. })));
    cache.write(&entry).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"{}");
    assert!(cache.read(&key).unwrap().is_some());
    // Anyone with write access can predict the name of the next temporary file.
    for number in 0..16 {
        let name = format!("results/.{}-{number}.new", std::process::id());
        symlink(&precious, directory.path().join(name)).unwrap();
    }
    cache.write(&entry).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"{}");
}
