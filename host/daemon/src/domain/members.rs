//! Members of JSON objects that people write, in any case, as Go's decoder takes them: of several that
//! mean the same the last one counts.

use cni_types::json::RawObject;
use serde_json::value::RawValue;

/// The name that `key` means.
pub fn known(names: &[&'static str], key: &str) -> Option<&'static str> {
    let exact = names.iter().find(|name| **name == key);
    exact
        .or_else(|| names.iter().find(|name| name.eq_ignore_ascii_case(key)))
        .copied()
}

/// The members that mean something, under their own names.
pub fn folded(object: &RawObject, names: &[&'static str]) -> RawObject {
    let mut members = RawObject::new();
    for (key, value) in object.iter() {
        if let Some(name) = known(names, key) {
            members.set_raw(name, value.to_owned());
        }
    }
    members
}

/// The same of a value; one that is not an object stays what it is, for the reader to refuse.
pub fn folded_value(value: &RawValue, names: &[&'static str]) -> Box<RawValue> {
    RawObject::from_value(value)
        .ok()
        .and_then(|object| serde_json::value::to_raw_value(&folded(&object, names)).ok())
        .unwrap_or_else(|| value.to_owned())
}

/// The same of each element of a list.
pub fn folded_elements(value: &RawValue, names: &[&'static str]) -> Box<RawValue> {
    let elements = serde_json::from_str::<Vec<&RawValue>>(value.get());
    elements
        .ok()
        .map(|elements| {
            let folded = elements.iter().map(|one| folded_value(one, names));
            folded.collect::<Vec<_>>()
        })
        .and_then(|elements| serde_json::value::to_raw_value(&elements).ok())
        .unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_spellings_counts() {
        let object = RawObject::parse(r#"{"MAC":1,"mac":2,"Mac":3,"x":4}"#).unwrap();
        assert_eq!(folded(&object, &["mac"]).to_text(), r#"{"mac":3}"#);
    }

    #[test]
    fn other_values_stay_what_they_are() {
        for text in ["null", "7", r#"["a"]"#] {
            let value = RawValue::from_string(text.to_owned()).unwrap();
            assert_eq!(folded_value(&value, &["a"]).get(), text);
        }
        let list = RawValue::from_string(r#"[{"A":1},null]"#.to_owned()).unwrap();
        assert_eq!(folded_elements(&list, &["a"]).get(), r#"[{"a":1},null]"#);
    }
}
