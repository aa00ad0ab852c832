//! The record of what is installed in a directory.

use std::io;

use serde::{Deserialize, Serialize};

/// Name of the record.
pub(super) const NAME: &str = ".cnidaria-installed.json";
/// Maximum size in bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// Digests of earlier versions that are kept: an interrupted update leaves the one before.
const MAX_DIGESTS: usize = 3;

/// What is installed.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    /// Whether the installation created the directory.
    pub(super) made_dir: bool,
    /// How many directories above it the installation created.
    pub(super) made_parents: usize,
    pub(super) items: Vec<Item>,
}

/// An installed file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    /// A single path component.
    pub(super) name: String,
    /// SHA-256 of this version, and of those before.
    pub(super) digests: Vec<String>,
    /// Whether a file of this name was there before, which is kept.
    #[serde(default)]
    pub(super) replaces: bool,
}

impl Record {
    pub(super) fn parse(text: &[u8]) -> io::Result<Self> {
        let record: Self = serde_json::from_slice(text)?;
        let is_component =
            |item: &Item| !item.name.is_empty() && item.name != ".." && !item.name.contains('/');
        if !record.items.iter().all(is_component) {
            return Err(io::Error::other("it names files of other directories"));
        }
        Ok(record)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Removes an item, or creates one.
    pub(super) fn take(&mut self, name: &str) -> Item {
        match self.items.iter().position(|item| item.name == name) {
            Some(at) => self.items.remove(at),
            None => Item {
                name: name.to_owned(),
                ..Item::default()
            },
        }
    }

    pub(super) fn set(&mut self, item: Item) {
        self.items.push(item);
    }
}

impl Item {
    /// Adds the digest of a version that is about to be written.
    pub(super) fn begin(&mut self, digest: String) {
        self.digests.retain(|known| *known != digest);
        self.digests.insert(0, digest);
        self.digests.truncate(MAX_DIGESTS);
    }
}
