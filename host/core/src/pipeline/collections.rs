//! Networks whose delegates are running GC. A GC passes the valid attachments to the delegates; one
//! made meanwhile would be missing from that list. So an ADD, once recorded, waits for its
//! network's GC to end; earlier records are in the list. Each network's collection starts and ends
//! with its own delegates, so one network's hanging delegates do not block ADDs to others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::domain::entry::Entry;
use crate::domain::shared_conf;

/// The collections running on the node.
#[derive(Debug)]
pub(super) struct Collections {
    networks: Mutex<HashMap<String, usize>>,
    ended: watch::Sender<()>,
    /// The keys of networks whose delegates timed out in their last GC.
    slow: Mutex<HashSet<String>>,
    /// Number of the last GC.
    last: AtomicU64,
}

/// A running collection of one network; ends on drop.
#[derive(Debug)]
pub(super) struct Collection<'a> {
    collections: &'a Collections,
    keys: BTreeSet<String>,
}

impl Default for Collections {
    fn default() -> Self {
        Self {
            networks: Mutex::default(),
            ended: watch::Sender::new(()),
            slow: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }
}

impl Collections {
    /// Begins a collection: the network's ADDs wait until it ends. The caller must reload what is
    /// recorded after this call.
    ///
    /// `keys` are [those](keys) of all attachments of the network.
    pub(super) fn begin(&self, keys: &BTreeSet<String>) -> Collection<'_> {
        let mut networks = self.networks();
        for key in keys {
            *networks.entry(key.clone()).or_default() += 1;
        }
        Collection {
            collections: self,
            keys: keys.clone(),
        }
    }

    /// Begins the next GC, and ends what an earlier one has not begun. Returns its number.
    pub(super) fn next_gc(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether no GC began after the one of this number.
    pub(super) fn is_latest(&self, number: u64) -> bool {
        self.last.load(Ordering::Relaxed) == number
    }

    /// Remembers whether a network's delegates timed out.
    pub(super) fn set_slow(&self, keys: &BTreeSet<String>, is_slow: bool) {
        let mut slow = self.slow.lock();
        for key in keys {
            match is_slow {
                true => drop(slow.insert(key.clone())),
                false => drop(slow.remove(key)),
            }
        }
    }

    /// Forgets networks that no longer exist.
    pub(super) fn retain_slow<'a>(&self, keys: impl Iterator<Item = &'a String>) {
        let known: HashSet<&String> = keys.collect();
        let mut slow = self.slow.lock();
        slow.retain(|key| known.contains(key));
    }

    /// Whether a network's delegates timed out in their last GC.
    pub(super) fn is_slow(&self, keys: &BTreeSet<String>) -> bool {
        let slow = self.slow.lock();
        keys.iter().any(|key| slow.contains(key))
    }

    /// Waits until no collection of the attachment's network runs. Call it once the attachment is
    /// recorded.
    pub(super) async fn wait(&self, entry: &Entry) {
        if self.networks().is_empty() {
            return;
        }
        self.wait_for(&keys(entry)).await;
    }

    async fn wait_for(&self, keys: &[String]) {
        let mut ended = self.ended.subscribe();
        let runs = || {
            let networks = self.networks();
            keys.iter().any(|key| networks.contains_key(key))
        };
        while runs() {
            if ended.changed().await.is_err() {
                return;
            }
        }
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.networks.lock()
    }
}

/// What identifies the network of an attachment: its conf, and the name by which pods select it. Not
/// the conf's `name`, which the conf of another namespace may have as well.
pub(super) fn keys(entry: &Entry) -> [String; 2] {
    [shared_conf::text(&entry.conf), entry.network.clone()]
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        let mut networks = self.collections.networks();
        for key in &self.keys {
            if let Some(count) = networks.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    networks.remove(key);
                }
            }
        }
        drop(networks);
        self.collections.ended.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn attachments_wait_for_their_networks_gc() {
        let (one, two) = (["one".to_owned()], ["two".to_owned()]);
        let collections = Collections::default();
        let first = collections.begin(&BTreeSet::from(one.clone()));
        let second = collections.begin(&BTreeSet::from(one.clone()));
        collections.wait_for(&two).await;
        let mut waiting = Box::pin(collections.wait_for(&one));
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        assert!(poll!(&mut waiting).is_pending());
        drop(second);
        waiting.await;
    }
}
