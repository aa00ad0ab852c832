//! Recently undone containers. Runtimes routinely repeat DELs: for a container that is neither here
//! nor in the ledger, the daemon must search the result cache and the cluster.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cni_types::args::{ContainerId, IfName};

/// About as many as a busy node deletes in an hour.
const CAPACITY: usize = 4096;

/// The containers; when full, the oldest is dropped.
#[derive(Debug, Default)]
pub(super) struct Undone {
    state: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// With the only interface that was undone; `None` if all were.
    known: HashMap<(PathBuf, ContainerId), Option<IfName>>,
    order: VecDeque<(PathBuf, ContainerId)>,
}

impl Undone {
    /// Adds a container of which nothing is left.
    pub(super) fn insert(&self, cni_dir: &Path, container: &ContainerId) {
        self.put(cni_dir, container, None);
    }

    /// Adds a container of whose interfaces only this one is known to be undone. The container's
    /// latest such interface replaces an earlier one.
    pub(super) fn insert_one(&self, cni_dir: &Path, container: &ContainerId, if_name: &IfName) {
        self.put(cni_dir, container, Some(if_name.clone()));
    }

    fn put(&self, cni_dir: &Path, container: &ContainerId, if_name: Option<IfName>) {
        let key = (cni_dir.to_owned(), container.clone());
        let mut state = self.lock();
        if let Some(known) = state.known.get_mut(&key) {
            if known.is_some() {
                *known = if_name;
            }
            return;
        }
        state.known.insert(key.clone(), if_name);
        state.order.push_back(key);
        if state.order.len() > CAPACITY
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
    }

    /// Whether nothing is left of what a DEL for `if_name` undoes.
    pub(super) fn has(&self, cni_dir: &Path, container: &ContainerId, if_name: &IfName) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        let state = self.lock();
        let known = state.known.get(&key);
        known.is_some_and(|known| known.as_ref().is_none_or(|known| known == if_name))
    }

    /// Removes a container that is being attached again.
    pub(super) fn remove(&self, cni_dir: &Path, container: &ContainerId) {
        let key = (cni_dir.to_owned(), container.clone());
        let mut state = self.lock();
        if state.known.remove(&key).is_some() {
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
        let eth0 = &IfName::new("eth0").unwrap();
        for number in 0..=CAPACITY {
            undone.insert(dir, &id(number));
        }
        assert!(!undone.has(dir, &id(0), eth0));
        assert!(undone.has(dir, &id(CAPACITY), eth0));
        undone.remove(dir, &id(CAPACITY));
        assert!(!undone.has(dir, &id(CAPACITY), eth0));
        assert_eq!(undone.lock().order.len(), CAPACITY - 1);
    }

    #[test]
    fn one_interface_stands_for_no_other() {
        let undone = Undone::default();
        let (dir, id) = (Path::new("/l"), ContainerId::new("c").unwrap());
        let name = |name: &str| IfName::new(name).unwrap();
        undone.insert_one(dir, &id, &name("eth1"));
        assert!(undone.has(dir, &id, &name("eth1")));
        assert!(!undone.has(dir, &id, &name("eth0")));
        undone.insert(dir, &id);
        undone.insert_one(dir, &id, &name("eth1"));
        assert!(undone.has(dir, &id, &name("eth0")));
    }
}
