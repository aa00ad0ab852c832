//! The reference of the WIT package is generated from its newest version and is current.
//! `CNIDARIA_BLESS=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use cnidaria_docs_tests::ROOT;

/// The reference, relative to the repository.
const PAGE: &str = "docs/policies/reference.md";

/// The directory of the newest version, and its name.
fn newest() -> (PathBuf, String) {
    let versions = fs::read_dir(Path::new(ROOT).join("wit")).unwrap();
    let mut versions: Vec<String> = versions
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_prefix("policy-")?.to_owned()))
        .collect();
    versions.sort_by_key(|version| {
        let parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
        parts.collect::<Vec<_>>()
    });
    let version = versions.pop().unwrap();
    let name = format!("policy-{version}");
    (Path::new(ROOT).join("wit").join(name), version)
}

/// The interfaces of a file: name, what its comment says, and its text without indentation.
fn interfaces(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut comment = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
            continue;
        }
        let said = std::mem::take(&mut comment).join("\n");
        let Some(rest) = line.strip_prefix("interface ") else {
            continue;
        };
        let name = rest.trim_end_matches(" {").to_owned();
        let mut body = String::new();
        for line in lines.by_ref().take_while(|line| *line != "}") {
            body.push_str(line.strip_prefix("  ").unwrap_or(line));
            body.push('\n');
        }
        found.push((name, said, body));
    }
    found
}

fn page() -> String {
    let (directory, version) = newest();
    let mut page = format!(
        "# Reference\n\nThe WIT package `cnidaria:policy@{version}` by interface, generated from `wit/policy-{version}`. Names are in the case\nof each language: `set-mtu` is `set_mtu` in Rust, Python and C, and `setMtu` in JavaScript.\n"
    );
    for (file, title) in [
        ("hooks.wit", "Hooks"),
        ("types.wit", "Types"),
        ("imports.wit", "Imports"),
    ] {
        write!(page, "\n## {title}\n").unwrap();
        let text = fs::read_to_string(directory.join(file)).unwrap();
        for (name, said, body) in interfaces(&text) {
            write!(page, "\n### {name}\n\n").unwrap();
            if !said.is_empty() {
                write!(page, "{said}\n\n").unwrap();
            }
            write!(page, "```wit\n{body}```\n").unwrap();
        }
    }
    page
}

#[test]
fn the_reference_is_current() {
    let path = Path::new(ROOT).join(PAGE);
    let page = page();
    if std::env::var_os("CNIDARIA_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "{PAGE} is not what the WIT package says: run CNIDARIA_BLESS=1 cargo test -p cnidaria-docs-tests --test reference"
    );
}

#[test]
fn interfaces_have_comments_and_bodies() {
    let text =
        "/// One.\n/// Two.\ninterface a {\n  b: func();\n}\n\n// Other.\ninterface c {\n}\n";
    let expected = [("a", "One.\nTwo.", "b: func();\n"), ("c", "", "")];
    let expected =
        expected.map(|(name, said, body)| (name.to_owned(), said.to_owned(), body.to_owned()));
    assert_eq!(interfaces(text), expected);
}
