//! The recordings as they are on disk, with the directory of the set-up filled in.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What stands for the directory of the set-up in the recordings.
const RIG: &str = "$RIG";
/// The same inside base64, where nothing could be put in its place.
const ENCODED_RIG: &str = "/tmp/peer";

/// The directory of the recordings.
pub fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/multus"))
}

/// The text of a file such as `lifecycle/ok-plain.json`, for a set-up in `root`.
///
/// # Panics
/// When there is no such file.
pub fn text(file: &str, root: &str) -> String {
    let path = directory().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.replace(RIG, root)
}

/// The same as JSON.
///
/// # Panics
/// When there is no such file, or it is no JSON.
pub fn json(file: &str, root: &str) -> Value {
    serde_json::from_str(&text(file, root)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The names of the recordings of one kind, without `.json`, sorted.
///
/// # Panics
/// When there is no such kind.
pub fn names(kind: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory().join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect();
    names.sort();
    names
}

/// Text that a recording or the daemon has in base64, with the directory of the set-up filled in.
///
/// # Panics
/// When it is no base64 of a text.
pub fn decoded(text: &str, root: &str) -> String {
    let bytes = STANDARD.decode(text).unwrap();
    String::from_utf8(bytes).unwrap().replace(ENCODED_RIG, root)
}

/// The reverse.
pub fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// A ledger file with its base64 as JSON (as text, where it is none), for comparison.
pub fn opened(value: Value, root: &str) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| {
                let value = match (key.as_str(), &value) {
                    ("Bytes" | "config", Value::String(text)) => {
                        let text = decoded(text, root);
                        serde_json::from_str(&text).unwrap_or(Value::String(text))
                    }
                    _ => opened(value, root),
                };
                (key, value)
            })
            .collect(),
        Value::Array(elements) => elements.into_iter().map(|e| opened(e, root)).collect(),
        other => other,
    }
}
