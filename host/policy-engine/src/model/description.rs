//! What a module says of itself: name, version, the schema of its settings, and the grants and limits
//! that it wants. A module can say anything, and gets nothing because of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::clean;

/// Maximum bytes of a name, a version, and each name of a grant or limit.
const MAX_WORD: usize = 64;
/// Maximum number of grants and of limits.
const MAX_WORDS: usize = 64;

/// A module's description of itself, with every text bounded and printable.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    pub name: String,
    pub version: String,
    /// JSON Schema of its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
    /// The grants that it wants.
    pub grants: Vec<String>,
    /// The limits that it wants, by key of the configuration.
    pub limits: BTreeMap<String, u64>,
}

impl Description {
    /// Parses the contents of the section.
    ///
    /// # Errors
    /// It is not JSON of this form.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let said: Self = serde_json::from_slice(text)?;
        let word = |word: &str| clean(word, MAX_WORD);
        let limits = said.limits.iter().take(MAX_WORDS);
        Ok(Self {
            name: word(&said.name),
            version: word(&said.version),
            settings: said.settings,
            grants: said
                .grants
                .iter()
                .take(MAX_WORDS)
                .map(|name| word(name))
                .collect(),
            limits: limits.map(|(key, value)| (word(key), *value)).collect(),
        })
    }

    /// Name and version; empty if it says neither.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version).trim().to_owned()
    }
}
