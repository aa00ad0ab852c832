//! Keys of a configuration file: their parts, and where each stands in the text.

use std::collections::HashMap;

use cni_types::json::RawObject;
use serde_json::Value;
use serde_json::value::RawValue;

/// `a.b[2].c` as its parts; an index is a part of its own.
pub(crate) fn segments(path: &str) -> Vec<String> {
    let parts = path
        .split(['.', '['])
        .map(|part| part.trim_end_matches(']'));
    let parts = parts.filter(|part| !part.is_empty() && *part != "?");
    parts.map(str::to_owned).collect()
}

/// Line and column of a key, or of the innermost object on the way to it that is there.
pub(crate) fn place(text: &str, key: &[String]) -> (usize, usize) {
    let mut offset = 0;
    let mut value = text;
    for part in key {
        let Some((at, inner)) = member(value, part) else {
            break;
        };
        let base = value.as_ptr() as usize - text.as_ptr() as usize;
        offset = base + at;
        value = inner;
    }
    let before = text.get(..offset).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, offset - start + 1)
}

/// Where a member's name or an element begins in the text of an object or list, and its value.
fn member<'a>(text: &'a str, part: &str) -> Option<(usize, &'a str)> {
    let offset = |value: &str| value.as_ptr() as usize - text.as_ptr() as usize;
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) {
        let value = elements.get(part.parse::<usize>().ok()?)?.get();
        return Some((offset(value), value));
    }
    let members: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    // Multus' keys are matched in any case.
    let exact = members.get_key_value(part);
    let folded = || {
        members
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(part))
    };
    let (name, value) = exact.or_else(folded)?;
    let value = value.get();
    let at = offset(value);
    let quoted = format!("\"{name}\"");
    let begins = text.get(..at)?.rfind(&quoted).unwrap_or(at);
    Some((begins, value))
}

/// The file without a key.
pub(crate) fn without(file: &RawObject, key: &[String]) -> Option<RawObject> {
    let (first, rest) = key.split_first()?;
    let mut names = file.iter().map(|(name, _)| name);
    let name = names
        .find(|name| name.eq_ignore_ascii_case(first))?
        .to_owned();
    let mut file = file.clone();
    if rest.is_empty() {
        file.remove(&name)?;
        return Some(file);
    }
    let mut value: Value = serde_json::from_str(file.get(&name)?.get()).ok()?;
    let (last, parents) = rest.split_last()?;
    let parent = parents
        .iter()
        .try_fold(&mut value, |value, part| match value {
            Value::Object(members) => members.get_mut(part),
            Value::Array(elements) => elements.get_mut(part.parse::<usize>().ok()?),
            _ => None,
        });
    let removed = parent.and_then(Value::as_object_mut)?.remove(last);
    if removed.is_none() {
        // The object itself has the mistake, such as a key that is missing.
        return self::without(&file, key.get(..key.len() - 1)?);
    }
    file.set(&name, &value).ok()?;
    Some(file)
}
