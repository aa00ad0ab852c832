//! Small values that a policy keeps between requests: in memory, and in one file per policy so that
//! they survive a restart of the daemon.
//!
//! A change is made in memory at once, and its caller returns when it is in the file. One thread at
//! a time rewrites the whole file; the next write includes all changes made meanwhile.

mod file;
mod origin;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::model::outside;
use crate::model::ports::Observer;
use crate::model::request::RequestFacts;
use origin::Replaced;
pub(crate) use origin::{Binding, Guard, Origin};

/// Maximum bytes of a key.
const MAX_KEY: usize = 256;
/// Maximum bytes of a value.
const MAX_VALUE: usize = 64 << 10;
/// Bytes that one policy may write per second. A write that comes sooner waits, and then includes
/// later changes.
const WRITE_RATE: u32 = 32 << 20;

/// What a key is bound to, and removed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bond {
    pub(crate) container_id: String,
    /// The interface of an attachment; `None` for the whole sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) if_name: Option<String>,
}

/// Why a value was not set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The policy has reached its quota of keys or bytes.
    Quota,
    /// The key has another value than expected.
    Conflict,
    /// The key or value is too large.
    TooLarge,
    /// The value cannot be stored, with the reason.
    Unavailable(String),
}

/// How much one policy may keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) keys: usize,
    /// Bytes of all keys and values.
    pub(crate) bytes: usize,
}

/// The state of all policies.
#[derive(Debug, Default)]
pub(crate) struct States {
    dir: Option<PathBuf>,
    open: Mutex<BTreeMap<String, Arc<PolicyState>>>,
    shared: Arc<Shared>,
}

/// What the states of all policies share.
#[derive(Debug, Default)]
struct Shared {
    /// Set once unfinished files of earlier daemons were removed, before the first write: while
    /// this one starts, an earlier daemon may still write.
    swept: OnceLock<()>,
    observer: Option<Arc<dyn Observer>>,
}

/// The state of one policy.
#[derive(Debug, Default)]
pub(crate) struct PolicyState {
    file: Option<PathBuf>,
    /// Read from the file on first use, without blocking other policies.
    contents: OnceLock<Mutex<Contents>>,
    /// What the file contains. Locked during a write.
    written: Mutex<Written>,
    name: String,
    shared: Arc<Shared>,
}

/// What the file contains.
#[derive(Debug, Default)]
struct Written {
    /// The last change in the file.
    change: u64,
    /// The earliest time of the next write.
    next: Option<Instant>,
}

/// The keys in memory. Cheap to copy, so that a file write does not hold the lock.
#[derive(Debug, Default)]
struct Contents {
    keys: BTreeMap<Arc<str>, Value>,
    /// Total bytes of all keys and values.
    bytes: usize,
    /// Number of the last change.
    change: u64,
    /// Failed requests with calls that may still be running.
    failed: Vec<Weak<RequestFacts>>,
    /// Values that running requests replaced with bound ones.
    replaced: Vec<Replaced>,
    /// What was wrong with the file when it was read.
    damage: Option<file::Damage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    bytes: Arc<[u8]>,
    bond: Option<Arc<Bond>>,
    /// The request that bound the key, while that may still fail or rename the interface.
    origin: Option<Origin>,
    /// The change that set the value.
    change: u64,
}

impl States {
    /// State stored in `dir`; `None` keeps it in memory only. The state of policies that are not
    /// loaded is known as well, because its keys are released all the same. The observer counts
    /// damaged files.
    pub(crate) fn new(dir: Option<PathBuf>, observer: Option<Arc<dyn Observer>>) -> Self {
        let stored = dir.as_deref().map(file::policies).unwrap_or_default();
        let states = Self {
            dir,
            shared: Arc::new(Shared {
                observer,
                ..Shared::default()
            }),
            ..Self::default()
        };
        for policy in stored {
            states.open(&policy);
        }
        states
    }

    /// The state of a policy, opened on first use.
    pub(crate) fn open(&self, policy: &str) -> Arc<PolicyState> {
        let mut open = self.open.lock();
        if let Some(state) = open.get(policy) {
            return Arc::clone(state);
        }
        let file = self
            .dir
            .as_ref()
            .map(|dir| dir.join(format!("{policy}.json")));
        let state = Arc::new(PolicyState {
            file,
            name: policy.to_owned(),
            shared: Arc::clone(&self.shared),
            ..PolicyState::default()
        });
        open.insert(policy.to_owned(), Arc::clone(&state));
        state
    }

    /// What was wrong with the file of a policy's state, if it was read.
    pub(crate) fn damage(&self, policy: &str) -> Option<String> {
        let state = self.open.lock().get(policy).map(Arc::clone)?;
        let contents = state.contents.get()?.lock();
        contents.damage.as_ref().map(|damage| damage.reason.clone())
    }

    /// Whether no policy keeps state.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// Removes keys bound to an attachment, and to its sandbox if it is the default network.
    pub(crate) fn release(&self, container_id: &str, if_name: &str, is_default: bool) {
        self.retain(|bond| {
            let own = match &bond.if_name {
                Some(name) => name == if_name,
                None => is_default,
            };
            bond.container_id != container_id || !own
        });
    }

    /// Removes keys bound to a sandbox or its attachments.
    pub(crate) fn release_sandbox(&self, container_id: &str) {
        self.retain(|bond| bond.container_id != container_id);
    }

    /// Removes keys bound to any other sandboxes.
    pub(crate) fn keep(&self, containers: &[&str]) {
        self.retain(|bond| containers.contains(&bond.container_id.as_str()));
    }

    /// A copy in memory, whose changes are not kept.
    pub(crate) fn snapshot(&self) -> Self {
        let open = self.open.lock();
        let copies = open
            .iter()
            .map(|(policy, state)| (policy.clone(), Arc::new(state.snapshot())))
            .collect();
        Self {
            open: Mutex::new(copies),
            ..Self::default()
        }
    }

    fn retain(&self, keep: impl Fn(&Bond) -> bool) {
        for state in self.all() {
            let keep = |value: &Value| value.bond.as_deref().is_none_or(&keep);
            let mut contents = state.lock();
            contents.replaced.retain(|one| keep(&one.value));
            let change = contents.retain(keep);
            drop(contents);
            state.write_removal(change);
        }
    }

    fn all(&self) -> Vec<Arc<PolicyState>> {
        self.open.lock().values().map(Arc::clone).collect()
    }
}

impl PolicyState {
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let live = || self.lock().keys.get(key).map(|value| value.bytes.to_vec());
        outside::value(key, live)
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        outside::keys(prefix, || {
            let contents = self.lock();
            let keys = contents.keys.keys().filter(|key| key.starts_with(prefix));
            keys.map(ToString::to_string).collect()
        })
    }

    /// A copy in memory. Its keys are bound as here, but no request that is running owns them.
    fn snapshot(&self) -> Self {
        let contents = self.lock();
        let keys = contents.keys.iter().map(|(key, value)| {
            let value = Value {
                origin: None,
                ..value.clone()
            };
            (Arc::clone(key), value)
        });
        let copy = Contents {
            keys: keys.collect(),
            bytes: contents.bytes,
            ..Contents::default()
        };
        Self {
            contents: OnceLock::from(Mutex::new(copy)),
            ..Self::default()
        }
    }

    /// Sets or removes a key if its current value is `expected`. Returns once it is in the file.
    pub(crate) fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<Vec<u8>>,
        bond: Option<Binding>,
        quota: Quota,
    ) -> Result<(), Refusal> {
        if key.len() > MAX_KEY || new.as_ref().is_some_and(|new| new.len() > MAX_VALUE) {
            return Err(Refusal::TooLarge);
        }
        let (change, before) = self.lock().swap(key, expected, new, bond, quota)?;
        self.write(change).map_err(|error| {
            self.lock().undo(key, change, before);
            Refusal::Unavailable(error.to_string())
        })
    }

    /// Writes a removal to the file, if there was one.
    fn write_removal(&self, change: Option<u64>) {
        let Some(change) = change else {
            return;
        };
        if let Err(error) = self.write(change) {
            // The keys are gone from memory; a restart would restore them until the next GC.
            tracing::warn!(target: "cnidaria::policy", %error, file = ?self.file, "cannot store the state");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        let contents = self.contents.get_or_init(|| {
            let file::Read { keys, damage } =
                self.file.as_deref().map(file::read).unwrap_or_default();
            if let (Some(_), Some(observer)) = (&damage, &self.shared.observer) {
                observer.state_damaged(&self.name);
            }
            let bytes = keys.iter().map(|(key, value)| size(key, value)).sum();
            Mutex::new(Contents {
                keys,
                bytes,
                change: 0,
                failed: Vec::new(),
                replaced: Vec::new(),
                damage,
            })
        });
        contents.lock()
    }

    /// Writes the memory to the file, unless the file already contains `change`.
    fn write(&self, change: u64) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut written = self.written.lock();
        if written.change >= change {
            return Ok(());
        }
        if let Some(next) = written.next {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let (keys, latest) = {
            let contents = self.lock();
            if let Some(damage) = contents.damage.as_ref().filter(|one| one.aside.is_none()) {
                return Err(io::Error::other(damage.reason.clone()));
            }
            (contents.keys.clone(), contents.change)
        };
        self.shared.swept.get_or_init(|| file::sweep(file));
        let bytes = file::replace(file, &keys)?;
        *written = Written {
            change: latest,
            next: Some(Instant::now() + pause(bytes)),
        };
        Ok(())
    }
}

impl Contents {
    /// Sets or removes a key in memory. Returns the change number and the previous value.
    fn swap(
        &mut self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<Vec<u8>>,
        bond: Option<Binding>,
        quota: Quota,
    ) -> Result<(u64, Option<Value>), Refusal> {
        if bond.as_ref().is_some_and(|bond| bond.is_late(&self.failed)) {
            return Err(Refusal::Unavailable("the request has ended".to_owned()));
        }
        let before = self.keys.get(key).cloned();
        if before.as_ref().map(|value| &*value.bytes) != expected {
            return Err(Refusal::Conflict);
        }
        let change = self.change + 1;
        let (bond, origin) = bond.map(Binding::into_parts).unzip();
        let origin: Option<Origin> = origin.flatten();
        let new = new.map(|bytes| Value {
            bytes: bytes.into(),
            bond: bond.map(Arc::new),
            origin: origin.clone(),
            change,
        });
        let of = |value: &Option<Value>| value.as_ref().map_or(0, |value| size(key, value));
        let bytes = self.bytes + of(&new) - of(&before);
        let number = self.keys.len() + usize::from(new.is_some()) - usize::from(before.is_some());
        // Removing keys is allowed even above a quota that was lowered.
        let over = number > quota.keys || bytes > quota.bytes;
        if over && new.is_some() {
            return Err(Refusal::Quota);
        }
        self.change = change;
        self.replace(key, before.as_ref(), origin.as_ref());
        self.put(key, new);
        Ok((change, before))
    }

    /// Reverts a change, unless the key was changed again.
    fn undo(&mut self, key: &str, change: u64, before: Option<Value>) {
        let now = self.keys.get(key);
        // A removed key has no change number: an absent key is always restored.
        if now.is_none_or(|value| value.change == change) {
            self.change += 1;
            self.put(key, before);
        }
    }

    fn put(&mut self, key: &str, value: Option<Value>) {
        let old = match value {
            Some(value) => {
                self.bytes += size(key, &value);
                self.keys.insert(key.into(), value)
            }
            None => self.keys.remove(key),
        };
        self.bytes -= old.map_or(0, |old| size(key, &old));
    }

    /// Removes keys that are not to be kept. Returns the change number if any were removed.
    fn retain(&mut self, keep: impl Fn(&Value) -> bool) -> Option<u64> {
        let before = self.keys.len();
        self.keys.retain(|_, value| keep(value));
        if self.keys.len() == before {
            return None;
        }
        self.bytes = self.keys.iter().map(|(key, value)| size(key, value)).sum();
        self.change += 1;
        Some(self.change)
    }
}

/// Minimum interval after a write of `bytes` before the next one.
fn pause(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Duration::from_secs(1).mul_f64(f64::from(bytes) / f64::from(WRITE_RATE))
}

/// Bytes that a key counts against the quota.
fn size(key: &str, value: &Value) -> usize {
    key.len() + value.bytes.len()
}

#[cfg(test)]
mod tests;
