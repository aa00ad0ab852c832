use std::collections::BTreeMap;

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn is_ours(content: &[u8]) -> bool {
    content.starts_with(b"ours")
}

fn never(_: &[u8]) -> bool {
    false
}

fn shim(content: &str) -> New {
    New {
        name: "multus-shim".to_owned(),
        content: content.as_bytes().to_vec(),
        mode: 0o755,
    }
}

/// Names, contents and modes of a directory.
fn seen(dir: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, (std::fs::read(&path).unwrap(), mode_of(&path)))
    });
    files.collect()
}

#[test]
fn uninstalling_restores_the_directory() {
    for before in [None, Some("multus")] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bridge"), "b").unwrap();
        if let Some(before) = before {
            let path = dir.path().join("multus-shim");
            std::fs::write(&path, before).unwrap();
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        let expected = seen(dir.path());
        let installation = Installation::in_dir(dir.path());
        for version in ["ours 1", "ours 2", "ours 2", "ours 3"] {
            installation.put(&[shim(version)], is_ours).unwrap();
            let (content, mode) = seen(dir.path())["multus-shim"].clone();
            assert_eq!((content.as_slice(), mode), (version.as_bytes(), 0o755));
        }
        assert!(installation.replaced().unwrap().is_empty());
        installation.take_away(&["multus-shim"], is_ours).unwrap();
        assert_eq!(seen(dir.path()), expected, "{before:?}");
        installation.take_away(&["multus-shim"], is_ours).unwrap();
        assert_eq!(seen(dir.path()), expected, "it can be repeated");
    }
}

#[test]
fn a_directory_that_was_made_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let policies = dir.path().join("policies");
    let installation = Installation::in_dir(&policies);
    installation.put(&[shim("ours")], never).unwrap();
    installation.take_away(&[], never).unwrap();
    assert!(!policies.exists());
    installation.put(&[shim("ours")], never).unwrap();
    std::fs::write(policies.join("mine.wasm"), "x").unwrap();
    installation.take_away(&[], never).unwrap();
    assert_eq!(seen(&policies).len(), 1, "an operator's own file stays");
}

#[test]
fn a_file_that_another_program_replaced_stays() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::in_dir(dir.path());
    let path = dir.path().join("multus-shim");
    std::fs::write(&path, "multus 1").unwrap();
    installation.put(&[shim("ours")], is_ours).unwrap();
    std::fs::write(&path, "multus 2").unwrap();
    assert_eq!(
        installation.replaced().unwrap(),
        std::slice::from_ref(&path)
    );
    let taken = installation.take_away(&["multus-shim"], is_ours).unwrap();
    assert_eq!(taken, [(path.clone(), Taken::Foreign)]);
    assert_eq!(std::fs::read(&path).unwrap(), b"multus 2");
    assert_eq!(seen(dir.path()).len(), 1);
}

#[test]
fn files_of_versions_without_a_record_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("multus-shim");
    std::fs::write(&path, "ours, earlier").unwrap();
    let installation = Installation::in_dir(dir.path());
    installation.take_away(&["multus-shim"], is_ours).unwrap();
    assert!(seen(dir.path()).is_empty());
    std::fs::write(&path, "ours, earlier").unwrap();
    installation.put(&[shim("ours")], is_ours).unwrap();
    installation.take_away(&["multus-shim"], is_ours).unwrap();
    assert!(seen(dir.path()).is_empty(), "it is not put back");
}

#[test]
fn an_interrupted_installation_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::in_dir(dir.path());
    let path = dir.path().join("multus-shim");
    std::fs::write(&path, "multus").unwrap();
    installation.put(&[shim("ours 1")], never).unwrap();
    // The record is written and the file is not yet.
    installation.put(&[shim("ours 2")], never).unwrap();
    std::fs::write(&path, "ours 1").unwrap();
    std::fs::write(dir.path().join(".7-0.new"), "torn").unwrap();
    installation.put(&[shim("ours 3")], never).unwrap();
    installation.take_away(&[], never).unwrap();
    let left = seen(dir.path());
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left["multus-shim"].0, b"multus");
}

#[test]
fn a_record_cannot_name_files_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"items":[{"name":"../x","digests":[]}]}"#;
    std::fs::write(dir.path().join(record::NAME), text).unwrap();
    let installation = Installation::in_dir(dir.path());
    assert!(installation.take_away(&[], never).is_err());
    assert!(installation.put(&[shim("ours")], never).is_err());
}
