//! Keys that Go takes for the same: of an object, plugins read the last one.

use cni_types::json::Document;

use super::{EditError, validate};

/// The last other spelling of a key behind it, which Go reads instead, of the object at a pointer's
/// tokens.
pub(super) fn later<'a>(conf: &'a Document, object: &[String], key: &str) -> Option<&'a str> {
    let ((last, _), count) = conf.last_spelling(object, key)?;
    if count == 1 || last == key {
        return None;
    }
    let member: Vec<String> = object
        .iter()
        .map(String::as_str)
        .chain([key])
        .map(str::to_owned)
        .collect();
    conf.at(&member).map(|_| last.as_str())
}

/// The refusal of an edit that plugins would not see.
pub(super) fn spelt_twice(key: &str, other: &str) -> EditError {
    validate::invalid(format!(
        "plugins read {other:?} instead of {key:?}, so the edit would have no effect"
    ))
}
