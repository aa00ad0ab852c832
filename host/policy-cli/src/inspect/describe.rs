//! The properties of a component.

use policy_engine::compile::{Import, Inspection};
use serde::Serialize;

use crate::plain;

/// Width of the first column.
const NAME: usize = 18;

/// What a component is and needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
    for reason in &description.faults {
        text += &format!("does not load: {}\n", plain(reason));
    }
    text
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
