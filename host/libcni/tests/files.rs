//! Network configurations and binaries in directories.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cni_types::args::PluginType;
use cni_types::conf::ConfKind;
use libcni::find::find;
use libcni::load::{self, Error};
use tempfile::TempDir;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn names(paths: &[PathBuf]) -> Vec<&str> {
    paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect()
}

#[test]
fn conf_files_are_sorted_and_filtered() {
    let directory = directory(&[
        ("20-b.conflist", ""),
        ("10-a.conf", ""),
        ("30-c.json", ""),
        ("x.txt", ""),
        ("conf", ""),
        ("40-d.conf.bak", ""),
        ("50-directory.conf/x", ""),
    ]);
    let files = load::conf_files(directory.path(), &load::EXTENSIONS).unwrap();
    assert_eq!(names(&files), ["10-a.conf", "20-b.conflist", "30-c.json"]);
    let missing = load::conf_files(Path::new("/nonexistent"), &load::EXTENSIONS);
    assert!(missing.unwrap().is_empty());
}

#[test]
fn the_default_network_is_the_first_valid_file() {
    let directory = directory(&[
        ("00-own.conf", r#"{"name":"own","type":"own"}"#),
        ("05-broken.conf", "{"),
        (
            "10-list.conflist",
            r#"{"name":"list","plugins":[{"type":"a"}]}"#,
        ),
        ("20-single.conf", r#"{"name":"single","type":"b"}"#),
    ]);
    let (path, list) =
        load::default_network(directory.path(), |path| !path.ends_with("00-own.conf")).unwrap();
    assert_eq!(list.name().as_str(), "list");
    assert!(path.ends_with("10-list.conflist"));
}

#[test]
fn error_lists_all_invalid_files() {
    let directory = directory(&[
        ("05-broken.conf", "{"),
        ("06-notype.conf", r#"{"name":"n"}"#),
    ]);
    let error = load::default_network(directory.path(), |_| true).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("05-broken.conf") && text.contains("06-notype.conf"),
        "{text}"
    );
    assert!(text.contains(r#"neither "type" nor "plugins""#), "{text}");
}

#[test]
fn by_name_prefers_lists_to_single_plugins() {
    let directory = directory(&[
        ("10.conf", r#"{"name":"n","type":"single"}"#),
        ("11.conflist", "garbage"),
        (
            "12.conflist",
            r#"{"name":"other","plugins":[{"type":"a"}]}"#,
        ),
        ("13.conflist", r#"{"name":"n","plugins":[{"type":"list"}]}"#),
        ("14.json", r#"{"name":"json","type":"single"}"#),
    ]);
    let load = |name: &str| load::by_name(directory.path(), name);
    assert_eq!(load("n").unwrap().kind(), ConfKind::List);
    assert_eq!(load("json").unwrap().kind(), ConfKind::Single);
    let error = load("absent").unwrap_err();
    assert!(matches!(&error, Error::NotFound { broken, .. } if broken.len() == 1));
    assert!(error.to_string().contains("11.conflist"), "{error}");
}

#[test]
fn plugins_beside_a_list_are_appended_in_order() {
    let directory = directory(&[
        (
            "n.conflist",
            r#"{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"a"}]}"#,
        ),
        ("n/20.conf", r#"{"type":"c", "x":1e3}"#),
        ("n/10.conf", r#"{"type":"b"}"#),
        ("n/30.conflist", "ignored"),
    ]);
    let list = load::file(&directory.path().join("n.conflist")).unwrap();
    let types: Vec<_> = list
        .plugins()
        .iter()
        .map(|p| p.plugin_type().as_str())
        .collect();
    assert_eq!(types, ["a", "b", "c"]);
    // The cached text can be parsed without the directory.
    assert_eq!(
        list.text(),
        r#"{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"a"},{"type":"b"},{"type":"c","x":1e3}]}"#
    );
}

#[test]
fn list_may_load_plugins_from_its_directory() {
    let directory = directory(&[
        ("n.conflist", r#"{"name":"n"}"#),
        ("n/10.conf", r#"{"type":"b"}"#),
        (
            "m.conflist",
            r#"{"name":"m","loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}"#,
        ),
        ("m/10.conf", r#"{"type":"b"}"#),
        ("empty.conflist", r#"{"name":"empty"}"#),
        ("broken.conflist", r#"{"name":"broken"}"#),
        ("broken/10.conf", r#"{"name":"no type"}"#),
    ]);
    let load = |name: &str| load::file(&directory.path().join(name));
    assert_eq!(load("n.conflist").unwrap().plugins().len(), 1);
    assert_eq!(load("m.conflist").unwrap().plugins().len(), 1);
    assert!(matches!(
        load("empty.conflist"),
        Err(Error::NoPlugins { .. })
    ));
    assert!(
        matches!(load("broken.conflist"), Err(Error::Conf { path, .. }) if path.ends_with("broken/10.conf"))
    );
}

#[test]
fn special_and_oversized_files_are_rejected() {
    let directory = directory(&[]);
    let large = directory.path().join("large.conf");
    fs::write(&large, vec![b' '; (1 << 20) + 1]).unwrap();
    for path in [large.as_path(), directory.path(), Path::new("/dev/zero")] {
        assert!(
            matches!(load::file(path), Err(Error::Read { .. })),
            "{path:?}"
        );
    }
}

#[test]
fn find_returns_the_first_executable_file() {
    let directory = directory(&[("1/x", ""), ("2/y/x", ""), ("3/x", ""), ("target", "")]);
    let at = |name: &str| directory.path().join(name);
    fs::remove_file(at("3/x")).unwrap();
    symlink(at("target"), at("3/x")).unwrap();
    let searched = [at("absent"), at("1"), at("2/y"), at("3")];
    let plugin = PluginType::new("x").unwrap();

    let error = find(&plugin, &searched).unwrap_err();
    assert_eq!(error.rejected, [at("1/x"), at("2/y/x"), at("3/x")]);
    assert!(
        error.to_string().contains("not an executable file"),
        "{error}"
    );
    fs::set_permissions(at("target"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(find(&plugin, &searched).unwrap(), at("3/x"));
}

#[test]
fn a_missing_plugin_names_the_directories() {
    let plugin = PluginType::new("absent").unwrap();
    let error = find(&plugin, &["/a".into(), "/b".into()]).unwrap_err();
    assert_eq!(error.to_string(), "plugin \"absent\" not found in /a, /b");
    let error = find(&plugin, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"absent\" not found in an empty list of directories"
    );
}
