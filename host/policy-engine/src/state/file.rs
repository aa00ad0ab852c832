//! The state file of one policy.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cni_types::json::Cause;
use files::{Links, Replace};
use serde::{Deserialize, Serialize};

use super::{Bond, Value};

/// Maximum files whose keys are released while their policies are not loaded.
const MAX_FILES: usize = 1024;
/// Maximum bytes read of a file: the largest quota, with all keys escaped and bound.
const MAX_BYTES: u64 = 256 << 20;

/// The policies whose state is in the directory.
pub(super) fn policies(dir: &Path) -> Vec<String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::error!(target: "cnidaria::policy", dir = %dir.display(), %error, "cannot list the state of policies");
            return Vec::new();
        }
    };
    let names = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        Some(name.strip_suffix(".json")?.to_owned())
    });
    let mut names: Vec<String> = names.take(MAX_FILES + 1).collect();
    if names.len() > MAX_FILES {
        names.truncate(MAX_FILES);
        tracing::warn!(
            target: "cnidaria::policy",
            dir = %dir.display(),
            "more than {MAX_FILES} files of state: those of policies that are not loaded may keep keys until the next GC",
        );
    }
    names
}

/// Replaces a policy's file atomically and returns its size.
pub(super) fn replace(file: &Path, keys: &BTreeMap<Arc<str>, Value>) -> io::Result<usize> {
    let stored = Stored {
        keys: keys
            .iter()
            .map(|(key, value)| {
                let stored = StoredValue {
                    value: STANDARD.encode(&value.bytes),
                    bound: value.bond.as_deref().cloned(),
                };
                (key.to_string(), stored)
            })
            .collect(),
    };
    let text = serde_json::to_vec(&stored)?;
    Replace::at(file).making_dir().durable().write(&text)?;
    Ok(text.len())
}

/// The contents of a policy's file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    keys: BTreeMap<String, StoredValue>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredValue {
    /// base64
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<Bond>,
}

/// Removes unfinished files that killed daemons left beside a policy's file.
pub(super) fn sweep(file: &Path) {
    if let Some(dir) = file.parent()
        && let Err(error) = files::sweep(dir)
    {
        tracing::warn!(target: "cnidaria::policy", dir = %dir.display(), %error, "cannot remove unfinished files of state");
    }
}

/// Reads a file; moves an unreadable one aside, so that its contents are not lost.
pub(super) fn read(file: &Path) -> BTreeMap<Arc<str>, Value> {
    let text = match files::read(file, Links::Refuse, MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::error!(target: "cnidaria::policy", file = %file.display(), %error, "cannot read the state");
            return BTreeMap::new();
        }
    };
    match decode(&text) {
        Ok(keys) => keys,
        Err(reason) => {
            let aside = file.with_extension("corrupt");
            let moved = fs::rename(file, &aside).is_ok();
            tracing::error!(
                target: "cnidaria::policy",
                file = %file.display(), reason, aside = %aside.display(), moved,
                "the state is corrupt: the policy begins without it",
            );
            BTreeMap::new()
        }
    }
}

fn decode(text: &[u8]) -> Result<BTreeMap<Arc<str>, Value>, String> {
    let stored: Stored =
        serde_json::from_slice(text).map_err(|error| Cause::of(&error).to_string())?;
    stored
        .keys
        .into_iter()
        .map(
            |(key, StoredValue { value, bound })| match STANDARD.decode(&value) {
                Ok(bytes) => {
                    let value = Value {
                        bytes: bytes.into(),
                        bond: bound.map(Arc::new),
                        origin: None,
                        change: 0,
                    };
                    Ok((key.into(), value))
                }
                Err(error) => Err(format!("{key}: {error}")),
            },
        )
        .collect()
}
