//! Both PATCH formats: JSON merge patch (RFC 7396) and JSON patch (RFC 6902).

use serde_json::Value;

use crate::status::Refusal;

/// Applies a patch of the given media type.
pub(crate) fn apply(object: &mut Value, media_type: &str, body: &[u8]) -> Result<(), Refusal> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
    match media_type {
        "application/merge-patch+json" => {
            if !patch.is_object() {
                return Err(Refusal::bad_request("a merge patch is an object"));
            }
            merge(object, &patch);
            Ok(())
        }
        "application/json-patch+json" => {
            let operations = patch
                .as_array()
                .ok_or_else(|| Refusal::bad_request("a JSON patch is a list"))?;
            operations
                .iter()
                .try_for_each(|operation| json_patch(object, operation))
        }
        other => Err(Refusal::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format: {other}"),
        )),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (key, value) in members {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn json_patch(object: &mut Value, operation: &Value) -> Result<(), Refusal> {
    let member = |name: &str| {
        operation
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (action, path) = (member("op"), member("path"));
    let value = operation.get("value").cloned().unwrap_or_default();
    let failed = || Refusal::invalid(format!("the patch failed: {operation}"));
    if action == "test" {
        return (object.pointer(path) == Some(&value))
            .then_some(())
            .ok_or_else(failed);
    }
    let (parent, key) = path.rsplit_once('/').ok_or_else(failed)?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = object
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .ok_or_else(failed)?;
    match action {
        "add" => {
            parent.insert(key, value);
        }
        "replace" if parent.contains_key(&key) => {
            parent.insert(key, value);
        }
        "remove" => {
            parent.remove(&key).ok_or_else(failed)?;
        }
        _ => return Err(failed()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch_adds_replaces_and_removes() {
        let mut object = json!({"a": {"b": 1, "c": 2}});
        let patch = br#"{"a":{"b":null,"d":3},"e":{"f":4}}"#;
        apply(&mut object, "application/merge-patch+json", patch).unwrap();
        assert_eq!(object, json!({"a": {"c": 2, "d": 3}, "e": {"f": 4}}));
    }

    #[test]
    fn a_json_patch_tests_before_it_changes() {
        let mut object = json!({"a": {"b": 1}});
        let media = "application/json-patch+json";
        let patch = br#"[{"op":"test","path":"/a/b","value":2},{"op":"remove","path":"/a/b"}]"#;
        assert_eq!(apply(&mut object, media, patch).unwrap_err().code, 422);
        let patch = br#"[{"op":"add","path":"/a/x~1y","value":2}]"#;
        apply(&mut object, media, patch).unwrap();
        assert_eq!(object, json!({"a": {"b": 1, "x/y": 2}}));
    }
}
