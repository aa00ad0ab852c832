//! What `#[derive(Schema)]` makes of types that serde reads.

#![allow(clippy::unwrap_used, dead_code, reason = "tests")]

use std::collections::BTreeMap;

use cnidaria_guest::Schema;
use cnidaria_guest::describe::Description;
use cnidaria_guest::schema::Schema as _;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    AllowAll,
    #[serde(alias = "none")]
    DenyAll,
}

#[derive(Deserialize, Schema)]
#[serde(transparent)]
struct Vlan(#[schema(minimum = 1, maximum = 4094)] u16);

#[derive(Deserialize, Schema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The networks
    /// of a namespace.
    ///
    /// More about them.
    by_namespace: BTreeMap<String, Vec<Vlan>>,
    mode: Mode,
    #[serde(default)]
    #[schema(maximum = 2)]
    names: Vec<String>,
    limit: Option<u8>,
    #[serde(skip)]
    internal: u32,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize, Schema)]
struct Open {
    #[serde(deserialize_with = "any")]
    odd: u32,
}

fn any<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    u32::deserialize(from)
}

fn schema(settings: &'static cnidaria_guest::schema::Json) -> Value {
    let description = Description {
        name: "x",
        version: "1",
        settings: Some(settings),
        grants: &[],
        limits: &[],
    };
    let text = description.text();
    let bytes: [u8; 4096] = text.bytes();
    let text = std::str::from_utf8(bytes.get(..text.length()).unwrap()).unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    value.get("settings").unwrap().clone()
}

#[test]
fn the_schema_has_the_names_that_serde_reads() {
    let u8 = json!({"type": "integer", "minimum": 0, "maximum": 255});
    let vlan = json!({"type": "integer", "minimum": 1, "maximum": 4094});
    let expected = json!({
        "type": "object",
        "properties": {
            "byNamespace": {
                "description": "The networks of a namespace.",
                "type": "object",
                "additionalProperties": {"type": "array", "items": vlan},
            },
            "mode": {"enum": ["allow-all", "deny-all", "none"]},
            "names": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            "limit": {"anyOf": [u8, {"type": "null"}]},
            "type": {"type": "string"},
        },
        "required": ["byNamespace", "mode"],
        "additionalProperties": false,
    });
    assert_eq!(schema(Settings::SCHEMA), expected);
    let expected = json!({"type": "object", "properties": {"odd": {}}});
    assert_eq!(schema(Open::SCHEMA), expected);
}
