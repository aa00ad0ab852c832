//! Reads single keys of a JSON object; errors name key and value.

use cni_types::json::{self, RawObject};
use serde::de::DeserializeOwned;

/// A key has a value of the wrong type.
#[derive(Debug, thiserror::Error)]
#[error("{key}: expected {expected}, found {found}")]
pub struct Error {
    /// Name of the key.
    pub key: String,
    /// Description of a valid value.
    pub expected: &'static str,
    /// The value's type; for numbers and booleans the value itself.
    pub found: String,
}

/// Reads `key`; absent and `null` are both `None`, as for Go's decoder.
///
/// # Errors
/// [`Error`] if the value has another type.
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
