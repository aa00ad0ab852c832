//! Recently undone containers. Runtimes routinely repeat DELs: for a container that is neither here
//! nor in the ledger, the daemon must search the result cache and the cluster.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cni_types::args::ContainerId;

/// About as many as a busy node deletes in an hour.
const CAPACITY: usize = 4096;

/// The containers; when full, the oldest is dropped.
#[derive(Debug, Default)]
pub(super) struct Undone {
    state: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    known: HashSet<(PathBuf, ContainerId)>,
    order: VecDeque<(PathBuf, ContainerId)>,
}

impl Undone {
    pub(super) fn insert(&self, cni_dir: &Path, container: &ContainerId) {
        let key = (cni_dir.to_owned(), container.clone());
        let mut state = self.lock();
        if !state.known.insert(key.clone()) {
            return;
        }
        state.order.push_back(key);
        if state.order.len() > CAPACITY
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
    }

    /// Whether the container was undone and nothing of it is left.
    pub(super) fn has(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        self.lock().known.contains(&key)
    }

    /// Removes a container that is being attached again.
    pub(super) fn remove(&self, cni_dir: &Path, container: &ContainerId) {
        let key = (cni_dir.to_owned(), container.clone());
        let mut state = self.lock();
        if state.known.remove(&key) {
            state.order.retain(|other| *other != key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_dropped() {
        let undone = Undone::default();
        let id = |number: usize| ContainerId::new(format!("c{number}")).unwrap();
        let dir = Path::new("/l");
        for number in 0..=CAPACITY {
            undone.insert(dir, &id(number));
        }
        assert!(!undone.has(dir, &id(0)));
        assert!(undone.has(dir, &id(CAPACITY)));
        undone.remove(dir, &id(CAPACITY));
        assert!(!undone.has(dir, &id(CAPACITY)));
        assert_eq!(undone.lock().order.len(), CAPACITY - 1);
    }
}
