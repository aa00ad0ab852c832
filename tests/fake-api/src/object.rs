//! Reads and writes members of JSON objects.

use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::status::Refusal;

/// The text at a JSON pointer; empty without one.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// An object's metadata, created if missing.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    object["metadata"]
        .as_object_mut()
        .expect("was made an object")
}

/// A field selector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector(Vec<(&'static str, bool, String)>);

impl Selector {
    /// Rejects fields that the kind does not support, as the real server does.
    pub(crate) fn parse(kind: &'static Kind, text: &str) -> Result<Self, Refusal> {
        let mut terms = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = term.split_once('=') {
                (field, true, value.trim_start_matches('='))
            } else {
                return Err(Refusal::bad_request(format!("invalid selector: {term:?}")));
            };
            let pointer = kind
                .fields
                .iter()
                .find(|(name, _)| *name == field)
                .map(|(_, pointer)| *pointer)
                .ok_or_else(|| {
                    Refusal::bad_request(format!("field label not supported: {field}"))
                })?;
            terms.push((pointer, equal, value.to_owned()));
        }
        Ok(Self(terms))
    }

    pub(crate) fn fits(&self, object: &Value) -> bool {
        self.0
            .iter()
            .all(|(pointer, equal, value)| (text(object, pointer) == value) == *equal)
    }
}

/// The object as the client requested it: complete, or only its metadata.
pub(crate) fn shown(object: &Value, accept: &str) -> Value {
    if !accept.contains("as=PartialObjectMetadata") {
        return object.clone();
    }
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}
