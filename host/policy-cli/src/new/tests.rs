#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn arguments(dir: &std::path::Path, lang: Language, hooks: &[&str]) -> NewArgs {
    NewArgs {
        name: "vlan-guard".to_owned(),
        lang,
        hooks: hooks.iter().map(|hook| (*hook).to_owned()).collect(),
        dir: Some(dir.join("project")),
    }
}

#[test]
fn every_language_has_a_project() {
    for language in Language::ALL {
        let dir = tempfile::tempdir().unwrap();
        new(&arguments(dir.path(), language, &["select"])).unwrap();
        let project = dir.path().join("project");
        assert_eq!(Language::of(&project), Some(language));
        for file in [
            "README.md",
            "policy.json",
            "tests/cases/cases.yaml",
            "pod.yaml",
        ] {
            assert!(project.join(file).is_file(), "{language:?}: {file}");
        }
    }
}

#[test]
fn no_template_keeps_a_placeholder() {
    let all: Vec<Hook> = hooks::choosable().collect();
    let one = all.iter().map(std::slice::from_ref);
    for language in Language::ALL {
        for hooks in one.clone().chain([all.as_slice()]) {
            let name = Name::new("x").unwrap();
            for (path, text) in project(&name, language, hooks).unwrap() {
                if path.starts_with("sdk/") {
                    continue;
                }
                let left = [
                    "{{name", "{{Type", "{{wit", "%% ", "{{js_", "{{py_", "{{c_", "{{ci",
                ];
                for mark in left {
                    assert!(!text.contains(mark), "{language:?} {path}: {mark}: {text}");
                }
            }
        }
    }
}

#[test]
fn existing_files_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let readme = dir.path().join("project/README.md");
    std::fs::create_dir(dir.path().join("project")).unwrap();
    std::fs::write(&readme, "mine").unwrap();
    let error = new(&arguments(dir.path(), Language::Rust, &["select"])).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "mine");
    assert_eq!(
        std::fs::read_dir(dir.path().join("project"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn a_failed_project_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("deep/project");
    let files = [("src/lib.rs", "a"), ("src/lib.rs/x", "b")];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    create::create(&target, &files).unwrap_err();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    create::create(&target, &files[..1]).unwrap();
}

#[test]
fn a_file_is_not_a_projects_directory() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    let refused = || new(&arguments(dir.path(), Language::C, &["select"])).unwrap_err();
    std::fs::write(&project, "mine").unwrap();
    assert!(matches!(refused(), Error::NotDirectory { .. }));
    std::fs::remove_file(&project).unwrap();
    std::os::unix::fs::symlink("nowhere", &project).unwrap();
    assert!(matches!(refused(), Error::NotDirectory { .. }));
}

#[test]
fn the_next_commands_can_be_pasted() {
    let shown = |dir: &str| next(Path::new(dir), Language::C, &[]);
    assert!(shown("/tmp/a-b").contains("cd /tmp/a-b\n"));
    assert!(shown("it's here").contains("cd 'it'\\''s here'\n"));
}
