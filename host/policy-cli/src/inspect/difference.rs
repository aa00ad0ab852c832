//! What differs between two components.

use policy_engine::Description as Said;
use serde::Serialize;

use super::describe::Description;
use crate::plain;

/// A property that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    property: &'static str,
    /// Elements that only the new component has, or its value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<String>,
    /// Elements that only the old component has, or its value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
}

/// The properties that differ.
pub(super) fn between(old: &Description, new: &Description) -> Vec<Change> {
    let needs = |description: &Description| {
        let needs = description.needs.iter();
        needs
            .map(|(key, value)| format!("{key} {value}"))
            .collect::<Vec<_>>()
    };
    let one = |value: &Option<String>| value.iter().cloned().collect();
    let size = |description: &Description| vec![format!("{} bytes", description.size)];
    [
        ("digest", vec![old.digest.clone()], vec![new.digest.clone()]),
        ("size", size(old), size(new)),
        ("targets", one(&old.targets), one(&new.targets)),
        ("hooks", old.hooks.clone(), new.hooks.clone()),
        ("grants asked for", old.grants.clone(), new.grants.clone()),
        ("imports", old.imports.clone(), new.imports.clone()),
        ("needs", needs(old), needs(new)),
        (
            "calls itself",
            described(old, |said| vec![said.title()]),
            described(new, |said| vec![said.title()]),
        ),
        (
            "wants grants",
            described(old, |said| said.grants.clone()),
            described(new, |said| said.grants.clone()),
        ),
        (
            "wants limits",
            described(old, limits),
            described(new, limits),
        ),
        (
            "settings",
            described(old, settings),
            described(new, settings),
        ),
        ("does not load", old.faults.clone(), new.faults.clone()),
    ]
    .into_iter()
    .filter(|(_, old, new)| old != new)
    .map(|(property, old, new)| Change {
        property,
        added: only(&new, &old),
        removed: only(&old, &new),
    })
    .collect()
}

/// A part of what a component says of itself.
fn described(component: &Description, part: impl FnOnce(&Said) -> Vec<String>) -> Vec<String> {
    component.description.as_ref().map(part).unwrap_or_default()
}

fn limits(said: &Said) -> Vec<String> {
    let limits = said.limits.iter();
    limits
        .map(|(key, value)| format!("{key} {value}"))
        .collect()
}

/// The top-level keys of the settings, with their schemas.
fn settings(said: &Said) -> Vec<String> {
    let keys = said
        .settings
        .as_ref()
        .and_then(|schema| schema.get("properties"));
    let keys = keys
        .and_then(serde_json::Value::as_object)
        .into_iter()
        .flatten();
    keys.map(|(key, schema)| format!("{key} {schema}"))
        .collect()
}

fn only(of: &[String], other: &[String]) -> Vec<String> {
    let mut only = of.to_vec();
    only.retain(|element| !other.contains(element));
    only
}

/// A line for each element, with its sign.
pub(super) fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        text.push_str(&format!("{}\n", change.property));
        for (sign, elements) in [('-', &change.removed), ('+', &change.added)] {
            for element in elements {
                text.push_str(&format!("  {sign} {}\n", plain(element)));
            }
        }
    }
    text
}

/// The changes, for programs.
pub(super) fn json(changes: &[Change]) -> String {
    let members = changes.iter().map(|change| {
        let mut value = serde_json::json!(change);
        if let Some(members) = value.as_object_mut() {
            members.remove("property");
        }
        (change.property.replace(' ', "-"), value)
    });
    let value: serde_json::Map<_, _> = members.collect();
    format!("{:#}\n", serde_json::Value::Object(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(hooks: &[&str], memory: u64) -> Description {
        Description {
            digest: "sha256:a".to_owned(),
            hooks: hooks.iter().map(|hook| (*hook).to_owned()).collect(),
            needs: vec![("memoryBytes", memory)],
            ..Description::default()
        }
    }

    #[test]
    fn only_what_differs_is_shown() {
        let old = description(&["select", "del"], 1);
        let new = description(&["select", "gc"], 2);
        assert_eq!(
            text(&between(&old, &new)),
            "hooks\n  - del\n  + gc\nneeds\n  - memoryBytes 1\n  + memoryBytes 2\n"
        );
        assert_eq!(text(&between(&old, &old)), "no difference\n");
        let value: serde_json::Value = serde_json::from_str(&json(&between(&old, &new))).unwrap();
        assert_eq!(value["hooks"]["added"][0], "gc");
        assert_eq!(value["needs"]["removed"][0], "memoryBytes 1");
    }
}
