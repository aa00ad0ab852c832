//! Reading single keys of a JSON object, with errors that name key and value.

use cni_types::json::{self, RawObject};
use serde::de::DeserializeOwned;

/// A key whose value is not what it must be.
#[derive(Debug, thiserror::Error)]
#[error("{key}: expected {expected}, found {found}")]
pub struct Error {
    /// The key.
    pub key: String,
    /// What it must be, in words.
    pub expected: &'static str,
    /// Its type; a number or a truth value itself.
    pub found: String,
}

/// Reads `key`; absent and `null` are `None`, as Go's decoder has it.
///
/// # Errors
/// [`Error`] when the value is of another type.
pub fn optional<T: DeserializeOwned>(
    object: &RawObject,
    key: &str,
    expected: &'static str,
) -> Result<Option<T>, Error> {
    let Some(raw) = object.get(key) else {
        return Ok(None);
    };
    serde_json::from_str::<Option<T>>(raw.get()).map_err(|_| Error {
        key: key.to_owned(),
        expected,
        found: json::kind(raw),
    })
}

/// The beginning of a value, for messages.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST).collect();
    short.push('…');
    short
}
