//! The recordings on disk, with placeholders replaced by the rig's directory.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Placeholder for the rig's directory in the recordings.
const RIG: &str = "$RIG";
/// The original directory, still present inside base64.
const ENCODED_RIG: &str = "/tmp/peer";

/// The directory of the recordings.
pub fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/multus"))
}

/// The text of a file such as `lifecycle/ok-plain.json`, for a rig in `root`.
///
/// # Panics
/// When the file does not exist.
pub fn text(file: &str, root: &str) -> String {
    let path = directory().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.replace(RIG, root)
}

/// A recording as JSON.
///
/// # Panics
/// When the file does not exist or is not JSON.
pub fn json(file: &str, root: &str) -> Value {
    serde_json::from_str(&text(file, root)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The sorted names of one kind of recording, without `.json`.
///
/// # Panics
/// When the kind does not exist.
pub fn names(kind: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory().join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect();
    names.sort();
    names
}

/// Decodes base64 of a recording or of the daemon and fills in the rig's directory.
///
/// # Panics
/// When it is not base64 of UTF-8 text.
pub fn decoded(text: &str, root: &str) -> String {
    let bytes = STANDARD.decode(text).unwrap();
    String::from_utf8(bytes).unwrap().replace(ENCODED_RIG, root)
}

/// Encodes text as base64.
pub fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// A ledger file with its base64 decoded, as JSON if possible and otherwise as text.
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
