//! Documents, comments and messages do not use the banned words of `CONTRIBUTING.md`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use cnidaria_docs_tests::{ROOT, files};

/// Released versions of the WIT package, which never change.
const RELEASED: &str = "wit/policy-";

// <!-- banned words: start -->
const BANNED: [&str; 15] = [
    "nobody",
    "somebody",
    "no one",
    "whoever",
    "is told",
    "are told",
    "was told",
    "were told",
    "told of",
    "said of",
    "what there is",
    "by hand of",
    "in turns",
    "is no",
    "there is none",
];
// <!-- banned words: end -->

/// Correct phrases that contain a banned word.
const GOOD: [&str; 1] = ["is no longer"];

/// The text of a line to check: in Rust comments, string literals of several words and names of
/// functions, in other code comments, in documents everything but the names in backticks.
fn prose(path: &Path, line: &str) -> String {
    let comment = |mark| line.split_once(mark).map_or("", |(_, comment)| comment);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => line
            .split('`')
            .step_by(2)
            .collect::<Vec<_>>()
            .join(" code "),
        Some("rs") => {
            let (code, comment) = line.split_once("//").unwrap_or((line, ""));
            let literals = code.split('"').skip(1).step_by(2);
            let sentences = literals.filter(|text| text.contains(' '));
            let function = code.split_once("fn ").map_or("", |(_, name)| name);
            let name = function.split('(').next().unwrap_or_default();
            let all: Vec<_> = sentences.chain([comment, name]).collect();
            all.join(" ").replace('_', " ")
        }
        Some("wit") => comment("//").to_owned(),
        Some("js") => comment("//").to_owned(),
        Some("py" | "sh" | "toml" | "yaml" | "yml") | None => comment("#").to_owned(),
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
fn the_repository_does_not_use_banned_words() {
    let mut found = Vec::new();
    for file in files(Path::new("")).unwrap() {
        if !file.to_string_lossy().starts_with(RELEASED) {
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
        [["a.rs:2: is", "no"].join(" ")]
    );
    assert_eq!(
        check("a.rs", &format!("fail(\"{word} answers\", \"{word}\");")),
        [format!("a.rs:1: {word}")]
    );
    assert_eq!(
        check("a.rs", &format!("fn a_{word}_waits() {{")),
        [format!("a.rs:1: {word}")]
    );
    assert_eq!(
        check("run", &format!("echo {word} # {word}\n")),
        [format!("run:1: {word}")]
    );
    assert!(check("a.md", "It is no longer there, and this no.").is_empty());
    assert!(check("a.md", &format!("A test: `a_{word}_b`, which is `x` no")).is_empty());
}
