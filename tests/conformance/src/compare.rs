//! Compares JSON member by member and reports differences by their location.

use serde_json::{Map, Value};

/// Fails the test unless both are equal.
///
/// # Panics
/// With each location where they differ, and both values.
pub fn same(what: &str, expected: &Value, actual: &Value) {
    let found = differences(expected, actual);
    assert!(
        found.is_empty(),
        "{what} is not as expected:\n  {}\nexpected {expected:#}\nfound {actual:#}",
        found.join("\n  ")
    );
}

/// The locations where two values differ.
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", expected, actual, &mut found);
    found
}

fn walk(place: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            walk_members(place, expected, actual, found);
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                walk(&format!("{place}/{index}"), expected, actual, found);
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!("{place}: expected {expected}, found {actual}")),
    }
}

fn walk_members(
    place: &str,
    expected: &Map<String, Value>,
    actual: &Map<String, Value>,
    found: &mut Vec<String>,
) {
    for (key, value) in expected {
        match actual.get(key) {
            Some(other) => walk(&format!("{place}/{key}"), value, other, found),
            None => found.push(format!("{place}/{key}: expected {value}, not there")),
        }
    }
    for (key, value) in actual
        .iter()
        .filter(|(key, _)| !expected.contains_key(*key))
    {
        found.push(format!("{place}/{key}: not expected, found {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::differences;
    use serde_json::json;

    #[test]
    fn each_difference_has_its_place() {
        let found = differences(
            &json!({"a": [1, {"b": 2}], "c": 3}),
            &json!({"a": [1, {"b": 4}], "d": 5}),
        );
        assert_eq!(
            found,
            [
                "/a/1/b: expected 2, found 4",
                "/c: expected 3, not there",
                "/d: not expected, found 5"
            ]
        );
    }
}
