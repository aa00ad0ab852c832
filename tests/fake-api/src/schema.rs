//! Schemas of custom resources, from their definitions. Stricter than the real server, which drops
//! unknown members: a client that writes one is wrong.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::Error;
use crate::kinds::Kind;
use crate::object::text;
use crate::status::Refusal;

/// Keywords that describe, and restrict nothing.
const DESCRIPTIVE: [&str; 2] = ["description", "x-kubernetes-list-type"];
/// Members of every object, which the server itself checks.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The schemas by `kind`.
#[derive(Debug, Default)]
pub(crate) struct Schemas(Vec<(String, Value)>);

impl Schemas {
    /// Adds the definitions of a file; ignores its other objects.
    pub(crate) fn load(&mut self, path: &Path) -> Result<(), Error> {
        let wrong = |reason: String| Error::Manifest {
            path: path.to_owned(),
            reason,
        };
        let content = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let manifests: Vec<Value> =
            serde_saphyr::from_multiple(&content).map_err(|error| wrong(error.to_string()))?;
        let definitions = manifests
            .into_iter()
            .filter(|one| text(one, "/kind") == "CustomResourceDefinition");
        for definition in definitions {
            let kind = text(&definition, "/spec/names/kind").to_owned();
            let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
            let schema = schema
                .cloned()
                .ok_or_else(|| wrong(format!("{kind}: no schema")))?;
            self.0.push((kind, schema));
        }
        Ok(())
    }

    /// Checks an object whose kind has a schema.
    pub(crate) fn check(&self, kind: &Kind, object: &Value) -> Result<(), Refusal> {
        let Some((_, schema)) = self.0.iter().find(|(of, _)| of == kind.kind) else {
            return Ok(());
        };
        let name = text(object, "/metadata/name").to_owned();
        let mut object = object.clone();
        if let Some(members) = object.as_object_mut() {
            members.retain(|member, _| !OF_EVERY_OBJECT.contains(&&**member));
        }
        match fault(schema, &object, "") {
            None => Ok(()),
            Some((field, reason)) => Err(Refusal::invalid_field(kind, &name, &field, &reason)),
        }
    }
}

/// The first member that does not fit, and why.
fn fault(schema: &Value, value: &Value, at: &str) -> Option<(String, String)> {
    let keywords = schema.as_object()?;
    for (keyword, wanted) in keywords {
        let found = match keyword.as_str() {
            "properties" => members(wanted, value, at),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                let mut items = items.map(|(index, item)| (format!("{at}[{index}]"), item));
                items.find_map(|(at, item)| fault(wanted, item, &at))
            }
            keyword => broken(keyword, wanted, value).map(|reason| (at.to_owned(), reason)),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn members(properties: &Value, value: &Value, at: &str) -> Option<(String, String)> {
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let found = match properties.get(name) {
            Some(schema) => fault(schema, member, &at),
            None => Some((at, "unknown field".to_owned())),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// How a value breaks a keyword.
fn broken(keyword: &str, wanted: &Value, value: &Value) -> Option<String> {
    let number = || wanted.as_i64().unwrap_or_default();
    let length =
        |length: Option<usize>| length.map(|length| i64::try_from(length).unwrap_or(i64::MAX));
    let characters = || length(value.as_str().map(|text| text.chars().count()));
    let elements = || length(value.as_array().map(Vec::len));
    let fits = match keyword {
        "type" => match wanted.as_str().unwrap_or_default() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            _ => false,
        },
        "required" => {
            let wanted = wanted.as_array().into_iter().flatten();
            let missing = |name: &Value| value.get(name.as_str().unwrap_or_default()).is_none();
            !wanted.into_iter().any(missing)
        }
        "enum" => wanted.as_array().is_some_and(|all| all.contains(value)),
        "minLength" => characters().is_none_or(|length| length >= number()),
        "maxLength" => characters().is_none_or(|length| length <= number()),
        "maxItems" => elements().is_none_or(|length| length <= number()),
        "minimum" => value.as_i64().is_none_or(|value| value >= number()),
        "format" => match wanted.as_str().unwrap_or_default() {
            "int64" => value.is_i64(),
            "date-time" => value.as_str().is_some_and(is_time),
            _ => false,
        },
        "x-kubernetes-list-map-keys" => has_distinct(wanted, value),
        keyword if DESCRIPTIVE.contains(&keyword) => true,
        _ => return Some(format!("this server does not know the keyword {keyword}")),
    };
    (!fits).then(|| format!("Invalid value: {value}: {keyword} is {wanted}"))
}

fn has_distinct(keys: &Value, list: &Value) -> bool {
    let mut seen = BTreeSet::new();
    let mut list = list.as_array().into_iter().flatten();
    list.all(|one| {
        let keys = keys.as_array().into_iter().flatten();
        let keys = keys.map(|key| text(one, &format!("/{}", key.as_str().unwrap_or_default())));
        seen.insert(keys.map(str::to_owned).collect::<Vec<_>>())
    })
}

/// Whether a text is a time with whole seconds in UTC.
fn is_time(text: &str) -> bool {
    let digits = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c });
    digits.collect::<String>() == "0000-00-00T00:00:00Z"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_that_do_not_fit_are_rejected() {
        let schema = json!({
            "type": "object",
            "properties": {"status": {
                "type": "object",
                "required": ["list"],
                "properties": {
                    "at": {"type": "string", "format": "date-time"},
                    "count": {"type": "integer", "minimum": 0},
                    "list": {
                        "type": "array",
                        "maxItems": 2,
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {
                            "name": {"type": "string", "maxLength": 2},
                            "state": {"type": "string", "enum": ["On"]},
                        }},
                    },
                },
            }},
        });
        let at = |status: Value| fault(&schema, &json!({ "status": status }), "");
        let good = json!({"at": "2026-01-01T00:00:00Z", "count": 1, "list": [{"name": "éé", "state": "On"}]});
        assert_eq!(at(good), None);
        for (status, field) in [
            (json!({}), ".status"),
            (json!({"list": [], "x": 1}), ".status.x"),
            (json!({"list": {}}), ".status.list"),
            (json!({"list": [{"name": "abc"}]}), ".status.list[0].name"),
            (json!({"list": [{"state": "Off"}]}), ".status.list[0].state"),
            (
                json!({"list": [{"name": "a"}, {"name": "a"}]}),
                ".status.list",
            ),
            (
                json!({"list": [{}, {"name": "a"}, {"name": "b"}]}),
                ".status.list",
            ),
            (json!({"list": [], "count": -1}), ".status.count"),
            (json!({"list": [], "count": "1"}), ".status.count"),
            (json!({"list": [], "at": "yesterday"}), ".status.at"),
        ] {
            assert_eq!(
                at(status.clone()).map(|(field, _)| field).as_deref(),
                Some(field),
                "{status}"
            );
        }
        assert!(fault(&json!({"pattern": "x"}), &json!("x"), "").is_some());
    }
}
