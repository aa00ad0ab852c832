//! Adds what a policy says of itself to its component, for languages whose SDK cannot.

use std::fs;
use std::io;
use std::path::Path;

use policy_engine::compile;
use serde_json::Value;

use super::Error;
use crate::{suggest, text};

/// The file in the project, as the section has it.
pub(super) const FILE: &str = "description.json";

/// The members of a description. The daemon ignores others.
const KEYS: [&str; 5] = ["name", "version", "settings", "grants", "limits"];

/// The types of JSON Schema.
const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// Id of custom sections.
const CUSTOM: u8 = 0;

/// The component with the section, if the project has the file.
///
/// # Errors
/// [`Error::Description`] if the file is not JSON of a description, or the component has one already.
pub(super) fn add(dir: &Path, mut module: Vec<u8>) -> Result<Vec<u8>, Error> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(module),
        read => read.map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?,
    };
    let wrong = |reason: String| Error::Description {
        path: path.clone(),
        reason,
    };
    let text = text::json(text).map_err(|mark| wrong(mark.reason))?;
    let described: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let members = described.as_object();
    let members = members.ok_or_else(|| wrong("expected a JSON object".to_owned()))?;
    if let Some(key) = members.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let hint = suggest::hint(key, &KEYS);
        return Err(wrong(format!("unknown key {key:?}; {hint}")));
    }
    if let Some(unknown) = members.get("settings").and_then(unknown_type) {
        let hint = suggest::hint(unknown, &TYPES);
        return Err(wrong(format!(
            "settings: unknown type {unknown:?} in the schema; {hint}"
        )));
    }
    if compile::description(&module).is_ok_and(|known| known.is_some()) {
        return Err(wrong("the component describes itself already".to_owned()));
    }
    let (name, contents) = (compile::DESCRIPTION, described.to_string());
    let mut section = number(name.len());
    section.extend(name.bytes().chain(contents.bytes()));
    module.push(CUSTOM);
    module.extend(number(section.len()));
    module.extend(section);
    match compile::description(&module) {
        Ok(_) => Ok(module),
        Err(reason) => Err(wrong(reason)),
    }
}

/// A type in a JSON Schema that does not exist: no settings would ever match it.
fn unknown_type(schema: &Value) -> Option<&str> {
    let is_unknown = |one: &&str| !TYPES.contains(one);
    match schema {
        Value::Array(schemas) => schemas.iter().find_map(unknown_type),
        Value::Object(members) => members.iter().find_map(|(key, value)| match key.as_str() {
            "type" => match value {
                Value::Array(types) => types.iter().filter_map(Value::as_str).find(is_unknown),
                one => one.as_str().filter(is_unknown),
            },
            "enum" | "const" | "default" | "examples" => None,
            // Their members are names that the author has chosen.
            "properties" | "patternProperties" | "$defs" | "definitions" => {
                let mut schemas = value.as_object().into_iter().flatten();
                schemas.find_map(|(_, schema)| unknown_type(schema))
            }
            _ => unknown_type(value),
        }),
        _ => None,
    }
}

/// An unsigned number in LEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        // Seven bits.
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn added(text: Option<&str>, module: &[u8]) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(text) = text {
            fs::write(dir.path().join(FILE), text).unwrap();
        }
        add(dir.path(), module.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_becomes_a_section_of_the_component() {
        assert_eq!(added(None, EMPTY).unwrap(), EMPTY);
        let long = "x".repeat(300);
        let text = format!(
            "{{\n  \"name\": \"guard\", \"version\": \"1\", \"settings\": {{\"title\": \"{long}\"}}\n}}"
        );
        let module = added(Some(&text), EMPTY).unwrap();
        let said = compile::description(&module).unwrap().unwrap();
        assert_eq!(said.title(), "guard 1");
        let twice = added(Some(&text), &module).unwrap_err();
        assert!(twice.ends_with("describes itself already"), "{twice}");
    }

    #[test]
    fn a_type_that_no_settings_can_have_is_refused() {
        let settings = |schema: &str| added(Some(&format!(r#"{{"settings":{schema}}}"#)), EMPTY);
        for wrong in [
            r#"{"type":"objct"}"#,
            r#"{"type":["null","objct"]}"#,
            r#"{"properties":{"type":{"type":"objct"}}}"#,
            r#"{"items":{"anyOf":[{"type":"objct"}]}}"#,
        ] {
            let wrong = settings(wrong).unwrap_err();
            assert!(wrong.ends_with("did you mean \"object\"?"), "{wrong}");
        }
        let sound = r#"{"type":"object","properties":{"type":{"type":["string","null"]}},
            "default":{"type":"macvlan"},"enum":[{"type":"x"}]}"#;
        settings(sound).unwrap();
    }

    #[test]
    fn a_wrong_file_is_named_with_its_place() {
        let wrong = added(Some("{\n \"name\" 1}"), EMPTY).unwrap_err();
        assert!(wrong.contains("description.json"), "{wrong}");
        assert!(wrong.contains("line 2"), "{wrong}");
        let wrong = added(Some(r#"{"versoin":"1"}"#), EMPTY).unwrap_err();
        assert!(wrong.ends_with("did you mean \"version\"?"), "{wrong}");
        let wrong = added(Some("[]"), EMPTY).unwrap_err();
        assert!(wrong.ends_with("expected a JSON object"), "{wrong}");
        let wrong = added(Some("\u{feff}{}"), EMPTY).unwrap_err();
        assert!(wrong.contains("byte order mark"), "{wrong}");
        let wrong = added(Some(r#"{"grants":"clock"}"#), EMPTY).unwrap_err();
        assert!(wrong.contains("malformed"), "{wrong}");
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
        let wrong = added(Some(&long), EMPTY).unwrap_err();
        assert!(wrong.contains("at most"), "{wrong}");
    }
}
