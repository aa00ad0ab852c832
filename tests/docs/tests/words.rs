//! Documents and comments do not use the banned words of `CONTRIBUTING.md`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use cnidaria_docs_tests::{ROOT, files};

/// Files and directories that are checked. The list grows until it covers the whole repository.
const HELD: [&str; 38] = [
    ".github",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "deploy/CONFIGURATION.md",
    "deploy/README.md",
    "docs",
    "guest-sdk/README.md",
    "guest-sdk/javascript/README.md",
    "guest-sdk/python/README.md",
    "host/ARCHITECTURE.md",
    "host/cni-types/README.md",
    "host/core/src/domain",
    "host/daemon/src/server",
    "host/core/src/stages",
    "host/libcni/README.md",
    "plugins/address-guard/README.md",
    "plugins/annotation-mtu/README.md",
    "plugins/dns-inject/README.md",
    "tests/README.md",
    "tests/artifacts",
    "tests/bench/README.md",
    "tests/conformance",
    "tests/demo",
    "tests/docs",
    "tests/fake-api",
    "tests/fake-delegate",
    "tests/fake-kubelet",
    "tests/fixtures",
    "tests/fuzz",
    "tests/hostile",
    "tests/node",
    "tests/policies",
    "tests/runtime",
    "tests/setup",
    "tests/soak",
    "wit/README.md",
];

const BANNED: [&str; 12] = [
    "nobody",
    "somebody",
    "whoever",
    "is told",
    "are told",
    "was told",
    "were told",
    "said of",
    "what there is",
    "by hand of",
    "in turns",
    "is no",
];

/// Correct phrases that contain a banned word.
const GOOD: [&str; 1] = ["is no longer"];

/// The text of a line to check: in code the comment, in a document everything but the names in backticks.
fn prose(path: &Path, line: &str) -> String {
    let comment = |mark| line.split_once(mark).map_or("", |(_, comment)| comment);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => line
            .split('`')
            .step_by(2)
            .collect::<Vec<_>>()
            .join(" code "),
        Some("rs" | "wit") => comment("//").to_owned(),
        Some("sh" | "toml" | "yaml" | "yml") | None => comment("#").to_owned(),
        Some(_) => String::new(),
    }
}

/// The first banned word that starts in `line`; it may end in the next one.
fn banned(line: &str, next: &str) -> Option<&'static str> {
    let words = |text: &str| {
        let separator = |c: char| !c.is_alphanumeric();
        text.to_lowercase()
            .split(separator)
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (line, next) = (words(line), words(next));
    let text = format!(" {line} {next} ");
    BANNED.into_iter().find(|word| {
        text.match_indices(&format!(" {word} ")).any(|(at, _)| {
            let rest = text.get(at + 1..).unwrap_or_default();
            at < line.len() && !GOOD.iter().any(|good| rest.starts_with(good))
        })
    })
}

/// `file:line: word` of each banned word.
fn findings(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut listing = false;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        // The table that lists the banned words.
        if line.contains("<!-- banned words: ") {
            listing = line.contains("start");
        }
        let next = lines.peek().map(|(_, next)| prose(path, next));
        let word = banned(&prose(path, line), &next.unwrap_or_default()).filter(|_| !listing);
        found.extend(word.map(|word| format!("{}:{}: {word}", path.display(), index + 1)));
    }
    found
}

#[test]
fn documents_do_not_use_banned_words() {
    let mut found = Vec::new();
    for held in HELD {
        let path = Path::new(held);
        let files = match Path::new(ROOT).join(path).is_dir() {
            true => files(path).unwrap(),
            false => vec![path.to_owned()],
        };
        for file in files {
            // Binary files, such as images, have no text.
            let text = fs::read_to_string(Path::new(ROOT).join(&file)).unwrap_or_default();
            found.extend(findings(&file, &text));
        }
    }
    assert!(found.is_empty(), "banned words:\n{}", found.join("\n"));
}

#[test]
fn banned_words_are_found_in_prose_alone() {
    let check = |file: &str, text: &str| findings(Path::new(file), text);
    let word = ["no", "body"].concat();
    assert_eq!(
        check("a.md", &format!("One\n{word}'s file\n")),
        [format!("a.md:2: {word}")]
    );
    assert_eq!(
        check(
            "a.rs",
            &format!("let {word} = 1; // This\n// is\n// no file\n")
        ),
        ["a.rs:2: is no"]
    );
    assert_eq!(
        check("run", &format!("echo {word} # {word}\n")),
        [format!("run:1: {word}")]
    );
    assert!(check("a.md", "It is no longer there, and this no.").is_empty());
    assert!(check("a.md", &format!("A test: `a_{word}_b`, which is `x` no")).is_empty());
}
