//! Keys of hand-written JSON objects, matched in any case like Go's decoder does: of several
//! matches the last one counts. Unknown keys are skipped, and listed for a warning.

use std::fmt;

use cni_types::json::{RawObject, keys};
use serde_json::value::RawValue;

/// The known name that `key` matches.
pub fn known(names: &[&'static str], key: &str) -> Option<&'static str> {
    let exact = names.iter().find(|name| **name == key);
    exact
        .or_else(|| {
            let folds = |name: &&&'static str| keys::folds_to(key, &name.to_ascii_lowercase());
            names.iter().find(folds)
        })
        .copied()
}

/// The object's known members, under their canonical names.
pub fn folded(object: &RawObject, names: &[&'static str]) -> RawObject {
    let mut members = RawObject::new();
    for (key, value) in object.iter() {
        if let Some(name) = known(names, key) {
            members.set_raw(name, value.to_owned());
        }
    }
    members
}

/// Like [`folded`], for a value; a non-object stays as it is and is rejected by its reader.
pub fn folded_value(value: &RawValue, names: &[&'static str]) -> Box<RawValue> {
    RawObject::from_value(value)
        .ok()
        .and_then(|object| serde_json::value::to_raw_value(&folded(&object, names)).ok())
        .unwrap_or_else(|| value.to_owned())
}

/// Like [`folded_value`], for each element of a list.
pub(crate) fn folded_elements(value: &RawValue, names: &[&'static str]) -> Box<RawValue> {
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

/// Minimum similarity for a key to count as a misspelling.
const SIMILAR: f64 = 0.75;
/// Longer than any name; the cost of comparing is the product of the lengths.
const MAX_COMPARED: usize = 64;

/// The name that `key` may misspell, ignoring case.
pub fn similar(names: &[&'static str], key: &str) -> Option<&'static str> {
    if key.len() > MAX_COMPARED {
        return None;
    }
    let key = key.to_lowercase();
    names
        .iter()
        .map(|name| {
            let likeness = strsim::normalized_damerau_levenshtein(&key, &name.to_lowercase());
            (likeness, *name)
        })
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Like [`similar`], but also matches longer and shorter forms: `ip` for `ips`, and names from
/// older releases of Multus, such as `macRequest`.
fn meant(names: &[&'static str], key: &str) -> Option<&'static str> {
    let key = key.get(..MAX_COMPARED).unwrap_or(key);
    let lower = key.to_lowercase();
    let stem = lower.strip_suffix("request").unwrap_or(&lower);
    let is_form = |name: &&&'static str| {
        let name = name.to_lowercase();
        stem.len() >= 2 && (name.starts_with(stem) || stem.starts_with(&name))
    };
    similar(names, stem).or_else(|| names.iter().find(is_form).copied())
}

/// An unknown member, whose value has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The object it is in, for messages.
    pub place: String,
    /// The member's path of keys, shortened.
    pub member: String,
    /// The known member that it may misspell.
    pub meant: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: unknown member {:?}", self.place, self.member)?;
        match self.meant {
            Some(meant) => write!(f, ", did you mean {meant:?}?"),
            None => Ok(()),
        }
    }
}

/// Unknown members of a text: the first ones, and the number of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnknownMembers {
    /// The first ones, at most [`UnknownMembers::LISTED`].
    pub first: Vec<Unknown>,
    /// The number of unlisted ones.
    pub more: usize,
}

impl UnknownMembers {
    /// Maximum listed; a hostile text may have thousands.
    pub const LISTED: usize = 5;

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Adds the unknown ones among `keys`. `above` is the path to their object, with a trailing
    /// dot.
    pub fn note<'a>(
        &mut self,
        place: &str,
        above: &str,
        keys: impl IntoIterator<Item = &'a str>,
        names: &[&'static str],
    ) {
        const LONGEST: usize = 40;
        for key in keys {
            if known(names, key).is_some() {
                continue;
            }
            if self.first.len() == Self::LISTED {
                self.more += 1;
                continue;
            }
            let shown: String = key.chars().take(LONGEST).collect();
            self.first.push(Unknown {
                place: place.to_owned(),
                member: format!("{above}{shown}"),
                meant: meant(names, key),
            });
        }
    }
}

impl fmt::Display for UnknownMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.first.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{one}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
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

    #[test]
    fn a_misspelt_member_suggests_the_known_one() {
        let names = ["name", "namespace", "interface", "ips", "mac", "ipam-claim"];
        for (key, expected) in [
            ("interfac", Some("interface")),
            ("namepsace", Some("namespace")),
            ("ip", Some("ips")),
            ("ipRequest", Some("ips")),
            ("macRequest", Some("mac")),
            ("macAddress", Some("mac")),
            ("vlan", None),
            ("", None),
            ("i", None),
        ] {
            assert_eq!(meant(&names, key), expected, "{key}");
        }
        assert_eq!(meant(&names, &"\u{e9}".repeat(99)), None);
    }

    #[test]
    fn few_unknown_members_are_listed() {
        let mut unknown = UnknownMembers::default();
        assert!(unknown.is_empty());
        let keys = ["MAC", "mak", "a", "b", "c", "d", "e", "f"];
        unknown.note("element 1 (n)", "x.", keys, &["mac"]);
        assert_eq!(unknown.more, 2);
        let text = unknown.to_string();
        let first = r#"element 1 (n): unknown member "x.a"; element"#;
        assert!(text.contains(first), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
    }
}
