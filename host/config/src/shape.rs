//! The shape of the file: where it needs objects, and which members occur twice.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::reference;

/// The first of the project's own keys that is not an object although it has keys of its own: its
/// dotted path, `.` for `cnidaria` itself, and what is wrong. A list would be read as the values of
/// these keys.
pub(crate) fn not_an_object(own: &Value) -> Option<(String, serde_json::Error)> {
    let parents: BTreeSet<&str> = reference::own()
        .flat_map(|key| key.match_indices('.').map(|(at, _)| key.split_at(at).0))
        .collect();
    let found = ["."].into_iter().chain(parents).find_map(|path| {
        let value = match path {
            "." => Some(own),
            path => own.pointer(&format!("/{}", path.replace('.', "/"))),
        };
        let found = match value? {
            Value::Array(_) => "a list",
            Value::String(_) => "a string",
            _ => return None,
        };
        Some((path, found))
    });
    found.map(|(path, found)| {
        let problem = format!("expected an object, found {found}");
        (path.to_owned(), serde_json::Error::custom(problem))
    })
}

/// Paths of members that occur more than once in their object.
pub(crate) fn repeated(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let repeated = Repeated {
        path: &mut Vec::new(),
        found: &mut found,
    };
    // What cannot be read is another mistake.
    let _ = repeated.deserialize(&mut serde_json::Deserializer::from_str(text));
    found
}

struct Repeated<'a> {
    path: &'a mut Vec<String>,
    found: &'a mut Vec<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Repeated<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Repeated<'_> {
    /// A value below this one.
    fn below(&mut self) -> Repeated<'_> {
        Repeated {
            path: self.path,
            found: self.found,
        }
    }
}

impl<'de> Visitor<'de> for Repeated<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            self.path.push(name.clone());
            if !names.insert(name) {
                self.found.push(self.path.clone());
            }
            map.next_value_seed(self.below())?;
            self.path.pop();
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_not_objects() {
        for (own, expected) in [
            (json!([]), Some(".")),
            (json!({"timeouts": []}), Some("timeouts")),
            (json!({"trace": "x"}), Some("trace")),
            (
                json!({"policies": {"modules": "/p", "record": {"redact": [[]]}}}),
                Some("policies.record.redact"),
            ),
            (
                json!({"timeouts": {}, "collect": null, "deferDelsOf": []}),
                None,
            ),
        ] {
            let found = not_an_object(&own).map(|(path, _)| path);
            assert_eq!(found.as_deref(), expected, "{own}");
        }
    }

    #[test]
    fn repeated_members_are_found() {
        let found = repeated(r#"{"a":1,"b":{"c":1,"c":[{}],"a":"x"},"a":null,"b":2.5}"#);
        let found: Vec<String> = found.iter().map(|path| path.join(".")).collect();
        assert_eq!(found, ["b.c", "a", "b"]);
        assert!(repeated("{").is_empty());
    }
}
