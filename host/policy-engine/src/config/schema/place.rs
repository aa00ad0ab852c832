//! Finds a value in JSON text.

use std::path::Path;

use serde_json::value::RawValue;

use super::super::members::{Object, Source};

/// Where the value at a path begins in the text, in bytes, or its key. Where the path ends early, the
/// last value on the way.
pub(super) fn offset(text: &str, path: &[&str], is_key: bool) -> usize {
    let source = Source {
        file: Path::new(""),
        text,
    };
    let Ok(mut value) = serde_json::from_str::<&RawValue>(text) else {
        return 0;
    };
    for (index, token) in path.iter().enumerate() {
        let Some(inner) = member(value, token) else {
            return source.offset(value);
        };
        value = inner;
        if is_key && index + 1 == path.len() {
            return source.key_before(source.offset(value));
        }
    }
    source.offset(value)
}

fn member<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    if value.get().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return elements.get(token.parse::<usize>().ok()?).copied();
    }
    let Object(members) = serde_json::from_str(value.get()).ok()?;
    // Of several equal keys, the last one counts.
    let mut members = members.into_iter().rev();
    members.find_map(|(key, value)| (key == token).then_some(value))
}
