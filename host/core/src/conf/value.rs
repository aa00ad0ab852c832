//! Reads single keys of a JSON object; errors name key and value.

use cni_types::json::{self, RawObject};
use serde::de::DeserializeOwned;

use crate::domain::shape::Shape;

/// A key has a value of the wrong type.
#[derive(Debug, thiserror::Error)]
#[error("{key}: expected {expected}, found {found}")]
pub struct Error {
    /// Name of the key, or the path of the member below it: `runtimeConfig.ips[0]`.
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

/// Like [`optional`], for values with members: the error names the one of a wrong type.
///
/// # Errors
/// [`Error`] if the value or a member has another type.
pub fn shaped<T: DeserializeOwned>(
    object: &RawObject,
    key: &str,
    expected: &'static str,
    shape: &'static Shape,
) -> Result<Option<T>, Error> {
    let given = object.get(key).filter(|value| value.get() != "null");
    match given.and_then(|value| shape.mismatch(value)) {
        Some(found) if !found.path.is_empty() => Err(Error {
            key: format!("{key}{}", found.path),
            expected: found.expected,
            found: found.found,
        }),
        Some(found) => Err(Error {
            key: key.to_owned(),
            expected,
            found: found.found,
        }),
        None => optional(object, key, expected),
    }
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
