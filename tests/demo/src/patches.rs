//! Reads each policy's changes from the daemon's log.

use serde_json::Value;

/// One log entry: a policy's changes in one hook of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The policy's name.
    pub(crate) policy: String,
    pub(crate) hook: String,
    /// The JSON patch.
    pub(crate) patch: Value,
}

/// The patches in a log of JSON lines, in the order they were applied.
pub(crate) fn read(log: &str) -> Vec<Applied> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|entry: Value| applied(&entry))
        .collect()
}

fn applied(entry: &Value) -> Option<Applied> {
    if entry.get("target")?.as_str()? != "cnidaria::policy" {
        return None;
    }
    let text = |name: &str| {
        let value = entry.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    Some(Applied {
        policy: text("policy"),
        hook: text("hook"),
        patch: serde_json::from_str(entry.get("patch")?.as_str()?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_entries_with_a_patch_are_read() {
        let log = r#"{"target":"cnidaria::policy","policy":"20-mtu","hook":"before-add","patch":"[{\"op\":\"replace\",\"path\":\"/mtu\",\"value\":1400}]"}
{"target":"cnidaria::policy","message":"loaded","policy":"20-mtu"}
{"target":"daemon","patch":"[]"}
no JSON at all"#;
        assert_eq!(
            read(log),
            [Applied {
                policy: "20-mtu".to_owned(),
                hook: "before-add".to_owned(),
                patch: json!([{"op": "replace", "path": "/mtu", "value": 1400}]),
            }]
        );
    }
}
