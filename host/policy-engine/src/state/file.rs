//! The state file of one policy. A damaged one is set aside, and what can be read of it is kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cni_types::json::Cause;
use files::{Links, Replace};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _, Serialize};
use serde_json::value::RawValue;

use super::{Bond, MAX_KEY, MAX_VALUE, Value, size};

/// Maximum files whose keys are released while their policies are not loaded.
const MAX_FILES: usize = 1024;
/// Largest quota of bytes that a policy can have.
const MAX_QUOTA_BYTES: usize = 16 << 20;
/// Largest quota of keys that a policy can have.
const MAX_QUOTA_KEYS: usize = 1 << 16;
/// Larger files are not read: the largest quota, with all keys escaped and bound, is smaller.
const MAX_BYTES: u64 = 128 << 20;
/// Maximum damaged files that are kept for each policy.
const MAX_ASIDE: usize = 100;
/// Damaged keys that the log names.
const MAX_NAMED: usize = 5;

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
#[derive(Debug, Serialize)]
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

/// What was read of a file.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) keys: BTreeMap<Arc<str>, Value>,
    pub(super) damage: Option<Damage>,
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) reason: String,
    /// Where the file was set aside; `None` if that failed, so that it must not be replaced.
    pub(super) aside: Option<PathBuf>,
}

/// Reads a policy's file. If some or all of it cannot be read, sets the file aside and stores the
/// rest in its place.
pub(super) fn read(file: &Path) -> Read {
    let mut found = Found::default();
    let reason = match found.read(file) {
        Ok(()) if found.damaged == 0 => None,
        Ok(()) => Some(found.reason()),
        Err(reason) => Some(reason),
    };
    let Found { keys, .. } = found;
    let Some(reason) = reason else {
        return Read { keys, damage: None };
    };
    let kept = keys.len();
    let aside = set_aside(file, &keys);
    match &aside {
        Ok(aside) => tracing::error!(
            target: "cnidaria::policy",
            file = %file.display(), reason, kept, aside = %aside.display(),
            "the state is damaged: the file was set aside, and the policy goes on with the keys that could be read",
        ),
        Err(error) => tracing::error!(
            target: "cnidaria::policy",
            file = %file.display(), reason, kept, %error,
            "the state is damaged, and its file cannot be set aside: the policy can set no key until the file is moved away and the daemon restarted",
        ),
    }
    let reason = match &aside {
        Ok(aside) => format!(
            "state damaged ({reason}): {kept} keys kept, the file is {}",
            aside.display()
        ),
        Err(error) => format!("state damaged ({reason}) and not set aside: {error}"),
    };
    let damage = Some(Damage {
        reason,
        aside: aside.ok(),
    });
    Read { keys, damage }
}

/// Gives the file a name that no file has, and replaces it by one with these keys, or none.
fn set_aside(file: &Path, keys: &BTreeMap<Arc<str>, Value>) -> io::Result<PathBuf> {
    let aside = free_name(file)?;
    if !file.symlink_metadata()?.is_file() {
        fs::rename(file, &aside)?;
        return Ok(aside);
    }
    // A second name at first, so that the state is never without a file.
    fs::hard_link(file, &aside)?;
    match keys.is_empty() {
        true => fs::remove_file(file)?,
        false => drop(replace(file, keys)?),
    }
    Ok(aside)
}

fn free_name(file: &Path) -> io::Result<PathBuf> {
    let names = (0..MAX_ASIDE).map(|number| match number {
        0 => file.with_extension("corrupt"),
        number => file.with_extension(format!("corrupt-{number}")),
    });
    for name in names {
        match name.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(name),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    let reason = format!("there are {MAX_ASIDE} damaged files of this policy already");
    Err(io::Error::new(io::ErrorKind::AlreadyExists, reason))
}

/// The keys of a file, as far as they were read.
#[derive(Debug, Default)]
struct Found {
    keys: BTreeMap<Arc<str>, Value>,
    bytes: usize,
    /// Number of keys whose values cannot be used.
    damaged: usize,
    /// The first of them, with reasons.
    named: String,
}

impl Found {
    /// Reads as far as the file can be read, without holding its text.
    fn read(&mut self, file: &Path) -> Result<(), String> {
        let opened = match files::open(file, Links::Refuse) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let bytes = opened.metadata().map_err(|error| error.to_string())?.len();
        if bytes > MAX_BYTES {
            return Err(format!("{bytes} bytes, no state has more than {MAX_BYTES}"));
        }
        let text = BufReader::new(opened.take(MAX_BYTES));
        let mut json = serde_json::Deserializer::from_reader(text);
        let read = json
            .deserialize_map(Members(self))
            .and_then(|()| json.end());
        if self.is_too_large() {
            self.keys.clear();
            return Err(format!(
                "more than the largest quota of {MAX_QUOTA_KEYS} keys and {MAX_QUOTA_BYTES} bytes"
            ));
        }
        read.map_err(|error| {
            let mut reason = Cause::of(&error).to_string();
            if self.damaged > 0 {
                let _ = write!(reason, "; {}", self.reason());
            }
            reason
        })
    }

    fn add(&mut self, key: String, text: &RawValue) {
        match value(&key, text) {
            Ok(value) => {
                self.bytes += size(&key, &value);
                self.keys.insert(key.into(), value);
            }
            Err(reason) => {
                self.damaged += 1;
                if self.damaged <= MAX_NAMED {
                    let key: String = key.chars().take(MAX_KEY).collect();
                    let separator = if self.named.is_empty() { "" } else { ", " };
                    let _ = write!(self.named, "{separator}{key:?}: {reason}");
                }
            }
        }
    }

    fn is_too_large(&self) -> bool {
        self.bytes > MAX_QUOTA_BYTES || self.keys.len() + self.damaged > MAX_QUOTA_KEYS
    }

    fn reason(&self) -> String {
        format!("{} damaged keys, first {}", self.damaged, self.named)
    }
}

/// Decodes one value.
fn value(key: &str, text: &RawValue) -> Result<Value, String> {
    let StoredValue { value, bound } =
        serde_json::from_str(text.get()).map_err(|error| Cause::of(&error).to_string())?;
    let bytes = STANDARD.decode(&value).map_err(|error| error.to_string())?;
    if key.len() > MAX_KEY || bytes.len() > MAX_VALUE {
        return Err("too large".to_owned());
    }
    Ok(Value {
        bytes: bytes.into(),
        bond: bound.map(Arc::new),
        origin: None,
        change: 0,
    })
}

/// Reads the members of the file.
struct Members<'f>(&'f mut Found);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the state of a policy")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(found) = self;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "keys" => map.next_value_seed(Keys(found))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads the keys, and keeps those before an error.
struct Keys<'f>(&'f mut Found);

impl<'de> serde::de::DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(found) = self;
        while let Some(key) = map.next_key::<String>()? {
            let text: Box<RawValue> = map.next_value()?;
            found.add(key, &text);
            if found.is_too_large() {
                return Err(serde::de::Error::custom("too large"));
            }
        }
        Ok(())
    }
}
