//! Small values that a policy keeps between requests: in memory, and in one file for each policy so
//! that they survive a restart of the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::{Limits, count};

/// Bytes of a key.
const MAX_KEY: usize = 256;
/// Bytes of a value.
const MAX_VALUE: usize = 64 << 10;

/// What a key is bound to: it vanishes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bond {
    /// The sandbox.
    pub(crate) container_id: String,
    /// The attachment in it; the sandbox as a whole where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) if_name: Option<String>,
}

/// Why a value was not set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The policy has as many keys or bytes as it may.
    Quota,
    /// The key has another value.
    Conflict,
    /// The key or the value is too large.
    TooLarge,
    /// It cannot be stored.
    Unavailable(String),
}

/// What all policies keep.
#[derive(Debug, Default)]
pub(crate) struct States {
    dir: Option<PathBuf>,
    open: Mutex<BTreeMap<String, Arc<PolicyState>>>,
}

/// What one policy keeps.
#[derive(Debug, Default)]
pub(crate) struct PolicyState {
    file: Option<PathBuf>,
    keys: Mutex<BTreeMap<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    bytes: Vec<u8>,
    bond: Option<Bond>,
}

impl States {
    /// State in `dir`, or in memory alone.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            open: Mutex::default(),
        }
    }

    /// What a policy keeps, read from its file when it is opened first.
    pub(crate) fn open(&self, policy: &str) -> Arc<PolicyState> {
        let mut open = lock(&self.open);
        if let Some(state) = open.get(policy) {
            return Arc::clone(state);
        }
        let file = self
            .dir
            .as_ref()
            .map(|dir| dir.join(format!("{policy}.json")));
        let keys = file.as_deref().map(read).unwrap_or_default();
        let state = Arc::new(PolicyState {
            file,
            keys: Mutex::new(keys),
        });
        open.insert(policy.to_owned(), Arc::clone(&state));
        state
    }

    /// Removes what is bound to an attachment, and with the default network to its sandbox.
    pub(crate) fn release(&self, container_id: &str, if_name: &str, is_default: bool) {
        self.retain(|bond| {
            let own = match &bond.if_name {
                Some(name) => name == if_name,
                None => is_default,
            };
            bond.container_id != container_id || !own
        });
    }

    /// Removes what is bound to sandboxes other than these.
    pub(crate) fn keep(&self, containers: &[&str]) {
        self.retain(|bond| containers.contains(&bond.container_id.as_str()));
    }

    fn retain(&self, keep: impl Fn(&Bond) -> bool) {
        let open: Vec<Arc<PolicyState>> = lock(&self.open).values().map(Arc::clone).collect();
        for state in open {
            state.retain(&keep);
        }
    }
}

impl PolicyState {
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.keys).get(key).map(|value| value.bytes.clone())
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        lock(&self.keys)
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Sets or removes a key when its present value is `expected`.
    pub(crate) fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<Vec<u8>>,
        bond: Option<Bond>,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        if key.len() > MAX_KEY || new.as_ref().is_some_and(|new| new.len() > MAX_VALUE) {
            return Err(Refusal::TooLarge);
        }
        let mut keys = lock(&self.keys);
        if keys.get(key).map(|value| value.bytes.as_slice()) != expected {
            return Err(Refusal::Conflict);
        }
        let mut next = keys.clone();
        match new {
            Some(bytes) => next.insert(key.to_owned(), Value { bytes, bond }),
            None => next.remove(key),
        };
        let bytes: usize = next
            .iter()
            .map(|(key, value)| key.len() + value.bytes.len())
            .sum();
        if next.len() > count(limits.state_keys) || bytes > count(limits.state_bytes) {
            return Err(Refusal::Quota);
        }
        self.write(&next)
            .map_err(|error| Refusal::Unavailable(error.to_string()))?;
        *keys = next;
        Ok(())
    }

    fn retain(&self, keep: impl Fn(&Bond) -> bool) {
        let mut keys = lock(&self.keys);
        let before = keys.len();
        keys.retain(|_, value| value.bond.as_ref().is_none_or(&keep));
        if keys.len() != before
            && let Err(error) = self.write(&keys)
        {
            // They are gone from memory; a restart brings them back until the next GC.
            tracing::warn!(target: "cnidaria::policy", %error, file = ?self.file, "cannot store the state");
        }
    }

    fn write(&self, keys: &BTreeMap<String, Value>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        if let Some(dir) = file.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)?;
        }
        let stored = Stored {
            keys: keys
                .iter()
                .map(|(key, value)| {
                    let stored = StoredValue {
                        value: STANDARD.encode(&value.bytes),
                        bound: value.bond.clone(),
                    };
                    (key.clone(), stored)
                })
                .collect(),
        };
        let unfinished = file.with_extension("tmp");
        let mut output = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        output.write_all(&serde_json::to_vec(&stored)?)?;
        fs::rename(&unfinished, file)
    }
}

/// The file of one policy.
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

/// What a file has; one that cannot be read is put aside, so that nothing is lost for good.
fn read(file: &Path) -> BTreeMap<String, Value> {
    let text = match fs::read(file) {
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

fn decode(text: &[u8]) -> Result<BTreeMap<String, Value>, String> {
    let stored: Stored = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    stored
        .keys
        .into_iter()
        .map(
            |(key, StoredValue { value, bound })| match STANDARD.decode(&value) {
                Ok(bytes) => Ok((key, Value { bytes, bond: bound })),
                Err(error) => Err(format!("{key}: {error}")),
            },
        )
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is made in one step, so what a panic left is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bond(container_id: &str, if_name: Option<&str>) -> Option<Bond> {
        Some(Bond {
            container_id: container_id.to_owned(),
            if_name: if_name.map(str::to_owned),
        })
    }

    fn set(state: &PolicyState, key: &str, bond: Option<Bond>) {
        state
            .swap(key, None, Some(vec![1]), bond, &Limits::default())
            .unwrap();
    }

    #[test]
    fn a_swap_needs_the_present_value() {
        let state = PolicyState::default();
        let swap = |expected, new| state.swap("k", expected, new, None, &Limits::default());
        assert_eq!(swap(Some(b"a".as_slice()), None), Err(Refusal::Conflict));
        swap(None, Some(b"a".to_vec())).unwrap();
        assert_eq!(swap(None, Some(b"b".to_vec())), Err(Refusal::Conflict));
        swap(Some(b"a"), Some(b"b".to_vec())).unwrap();
        assert_eq!(state.get("k"), Some(b"b".to_vec()));
        swap(Some(b"b"), None).unwrap();
        assert_eq!(state.keys(""), Vec::<String>::new());
    }

    #[test]
    fn keys_and_bytes_have_a_quota() {
        let state = PolicyState::default();
        let limits = Limits {
            state_keys: 2,
            state_bytes: 10,
            ..Limits::default()
        };
        let swap =
            |key: &str, bytes: usize| state.swap(key, None, Some(vec![0; bytes]), None, &limits);
        swap("a", 1).unwrap();
        assert_eq!(swap("b", 9), Err(Refusal::Quota));
        swap("b", 1).unwrap();
        assert_eq!(swap("c", 1), Err(Refusal::Quota));
        assert_eq!(swap("c", MAX_VALUE + 1), Err(Refusal::TooLarge));
        assert_eq!(swap(&"k".repeat(MAX_KEY + 1), 1), Err(Refusal::TooLarge));
        assert_eq!(state.keys(""), ["a", "b"]);
    }

    #[test]
    fn what_is_bound_vanishes_with_its_sandbox() {
        let states = States::default();
        let state = states.open("p");
        set(&state, "free", None);
        set(&state, "net1", bond("c1", Some("net1")));
        set(&state, "net2", bond("c1", Some("net2")));
        set(&state, "sandbox", bond("c1", None));
        set(&state, "other", bond("c2", None));
        states.release("c1", "net1", false);
        assert_eq!(state.keys(""), ["free", "net2", "other", "sandbox"]);
        states.release("c1", "eth0", true);
        assert_eq!(state.keys(""), ["free", "net2", "other"]);
        states.keep(&["c2"]);
        assert_eq!(state.keys(""), ["free", "other"]);
    }

    #[test]
    fn state_survives_a_restart_and_a_corrupt_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let open = || States::new(Some(dir.path().join("state"))).open("10-p");
        let state = open();
        set(&state, "k", bond("c1", Some("net1")));
        set(&state, "l", None);
        assert_eq!(*lock(&open().keys), *lock(&state.keys));

        fs::write(dir.path().join("state/10-p.json"), "{").unwrap();
        assert_eq!(open().keys(""), Vec::<String>::new());
        assert!(dir.path().join("state/10-p.corrupt").exists());
    }
}
