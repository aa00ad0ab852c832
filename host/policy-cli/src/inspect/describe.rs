//! The properties of a component.

use policy_engine::compile::{Import, Inspection};
use serde::Serialize;
use serde_json::Value;

use crate::plain;

/// Width of the first column.
const NAME: usize = 18;
/// Maximum number of keys and forms that are shown.
const MAX_KEYS: usize = 64;

/// What a component is and needs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    /// `sha256:…`.
    pub(super) digest: String,
    /// Bytes of the file.
    pub(super) size: u64,
    /// The WIT package and its version.
    pub(super) targets: Option<String>,
    pub(super) hooks: Vec<String>,
    /// The grants that its imports need.
    pub(super) grants: Vec<String>,
    pub(super) imports: Vec<String>,
    /// What an instance needs before it runs, by the key of the limit.
    pub(super) needs: Vec<(&'static str, u64)>,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<policy_engine::Description>,
    /// Why what it says of itself is not usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description_fault: Option<String>,
    /// Why the daemon would not load it.
    pub(super) faults: Vec<String>,
}

impl Description {
    pub(super) fn of(inspection: &Inspection, size: usize) -> Self {
        let grants = inspection.imports.iter().filter_map(|import| match import {
            Import::Granted { grant, .. } => Some((*grant).to_owned()),
            _ => None,
        });
        let version = inspection.version;
        Self {
            digest: inspection.digest.clone(),
            size: size as u64,
            targets: version.map(|version| format!("cnidaria:policy@{version}")),
            hooks: inspection.hooks.iter().map(ToString::to_string).collect(),
            grants: grants.collect(),
            imports: inspection
                .imports
                .iter()
                .map(|import| import.name().to_owned())
                .collect(),
            needs: inspection.needs.clone(),
            description: inspection.description.clone().ok().flatten(),
            description_fault: inspection.description.clone().err(),
            faults: inspection.faults(),
        }
    }
}

/// A line for each property.
pub(super) fn text(description: &Description) -> String {
    let needs: Vec<String> = description
        .needs
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    let rows = [
        ("digest", description.digest.clone()),
        ("size", format!("{} bytes", description.size)),
        (
            "targets",
            description.targets.clone().unwrap_or_else(|| words(&[])),
        ),
        ("hooks", words(&description.hooks)),
        ("grants asked for", words(&description.grants)),
        ("imports", words(&description.imports)),
        ("needs", words(&needs)),
    ];
    let mut text: String = rows
        .iter()
        .map(|(key, value)| format!("{key:<NAME$}{}\n", plain(value)))
        .collect();
    if let Some(said) = &description.description {
        let limits = said.limits.iter();
        let limits: Vec<String> = limits
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        for (key, value) in [
            ("calls itself", said.title()),
            ("wants grants", words(&said.grants)),
            ("wants limits", words(&limits)),
        ] {
            text += &format!("{key:<NAME$}{}\n", plain(&value));
        }
        for line in settings(said) {
            text += &format!("{}\n", plain(&line));
        }
    }
    if let Some(reason) = &description.description_fault {
        text += &format!("ignored: {}\n", plain(reason));
    }
    for reason in &description.faults {
        text += &format!("does not load: {}\n", plain(reason));
    }
    text
}

/// A line for each top-level key of the settings.
fn settings(said: &policy_engine::Description) -> Vec<String> {
    let Some(schema) = &said.settings else {
        return Vec::new();
    };
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let required = list("required").map(Vec::as_slice).unwrap_or_default();
    let keys = schema.get("properties").and_then(Value::as_object);
    let keys = keys.into_iter().flatten().take(MAX_KEYS);
    keys.map(|(key, of_key)| {
        let is_required = required.iter().any(|name| name == key);
        let need = if is_required { ", required" } else { "" };
        let about = of_key.get("description").and_then(Value::as_str);
        let about = about.map_or_else(String::new, |about| format!(": {about}"));
        let name = "settings";
        format!("{name:<NAME$}{key} ({}{need}){about}", kind(of_key))
    })
    .collect()
}

/// The type of a value, in few words.
fn kind(schema: &Value) -> String {
    match (schema.get("type"), schema.get("enum"), schema.get("anyOf")) {
        (Some(Value::String(kind)), _, _) => kind.clone(),
        (_, Some(Value::Array(choices)), _) => {
            let choices = choices.iter().take(MAX_KEYS).map(Value::to_string);
            choices.collect::<Vec<_>>().join(" | ")
        }
        (_, _, Some(Value::Array(forms))) => {
            let forms = forms
                .iter()
                .take(MAX_KEYS)
                .filter_map(|form| form.get("type"));
            let forms = forms.filter_map(Value::as_str);
            forms.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// Everything, for programs.
pub(super) fn json(description: &Description) -> String {
    let mut value = serde_json::json!(description);
    let needs = description.needs.iter();
    let needs = needs.map(|(key, value)| ((*key).to_owned(), (*value).into()));
    if let Some(members) = value.as_object_mut() {
        let needs = serde_json::Value::Object(needs.collect());
        members.insert("needs".to_owned(), needs);
    }
    format!("{value:#}\n")
}

pub(super) fn words(words: &[String]) -> String {
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_says_of_itself_is_shown() {
        let said = policy_engine::Description {
            name: "guard\u{1b}".to_owned(),
            version: "1.2".to_owned(),
            grants: vec!["clock".to_owned()],
            limits: [("timeoutMs".to_owned(), 50)].into(),
            settings: Some(serde_json::json!({
                "properties": {
                    "mtu": {"type": "integer", "description": "The MTU."},
                    "mode": {"enum": ["a", "b"]},
                    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["mtu"],
            })),
        };
        let description = Description {
            description: Some(said),
            ..Description::default()
        };
        let shown = text(&description);
        for line in [
            "wants grants      clock\n",
            "wants limits      timeoutMs 50\n",
            "settings          mtu (integer, required): The MTU.\n",
            "settings          mode (\"a\" | \"b\")\n",
            "settings          maybe (string or null)\n",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(shown.contains("calls itself      guard"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
