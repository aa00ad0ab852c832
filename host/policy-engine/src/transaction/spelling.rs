//! Keys that Go takes for the same: of an object, plugins read the last one.

use cni_types::json::Node;

use super::difference::{folded, folds_to};
use super::{EditError, validate};

/// The last other spelling of a key behind it, which Go reads instead.
pub(super) fn later<'a>(members: &'a [(String, Node)], key: &str) -> Option<&'a str> {
    let at = members.iter().position(|(known, _)| known == key)?;
    let folded = folded(key);
    let mut behind = members.iter().skip(at + 1).rev();
    let other = behind.find(|(known, _)| known != key && folds_to(known, &folded));
    other.map(|(known, _)| known.as_str())
}

/// The refusal of an edit that plugins would not see.
pub(super) fn spelt_twice(key: &str, other: &str) -> EditError {
    validate::invalid(format!(
        "plugins read {other:?} instead of {key:?}, so the edit would have no effect"
    ))
}
