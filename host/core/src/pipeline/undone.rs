//! Recently undone and forgotten containers. Runtimes routinely repeat DELs: for a container that is
//! neither here nor in the ledger, the daemon must search the result cache and the cluster. Containers
//! that an operator had forgotten are also noted on disk: their DELs must not execute what was given up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};

use cni_types::args::{ContainerId, IfName};
use parking_lot::{Mutex, MutexGuard};

use super::Pipeline;
use super::dirs::Dirs;

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
    /// The containers with a note on disk.
    noted: HashSet<(PathBuf, ContainerId)>,
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

    /// Removes a container that is being attached again. Returns whether it has a note on disk.
    fn remove(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        let mut state = self.lock();
        if state.known.remove(&key).is_some() {
            state.order.retain(|other| *other != key);
        }
        state.noted.remove(&key)
    }

    fn note(&self, cni_dir: &Path, container: &ContainerId) {
        self.insert(cni_dir, container);
        let key = (cni_dir.to_owned(), container.clone());
        self.lock().noted.insert(key);
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.state.lock()
    }
}

/// Adds a container that an operator had forgotten, also for later daemons.
pub(super) async fn forgotten(pipeline: &Pipeline, dirs: &Dirs, container: &ContainerId) {
    pipeline.undone.note(&dirs.cni, container);
    let ledger = &pipeline.ports.ledger;
    if let Err(error) = ledger.note_forgotten(&dirs.cni, container).await {
        tracing::warn!(
            %container,
            error = crate::report::chain(&error),
            "cannot note that the container is forgotten: after a restart, its DEL may execute the default network's plugin"
        );
    }
}

/// Adds the containers that operators had earlier daemons forget.
pub(super) async fn recall(pipeline: &Pipeline, cni_dir: &Path) {
    match pipeline.ports.ledger.forgotten(cni_dir).await {
        Ok(containers) => {
            for container in containers {
                pipeline.undone.note(cni_dir, &container);
            }
        }
        Err(error) => tracing::warn!(
            dir = %cni_dir.display(),
            error = crate::report::chain(&error),
            "cannot read which containers operators had forgotten"
        ),
    }
}

/// Removes a container that is being attached again.
pub(super) async fn attached(pipeline: &Pipeline, dirs: &Dirs, container: &ContainerId) {
    if !pipeline.undone.remove(&dirs.cni, container) {
        return;
    }
    let ledger = &pipeline.ports.ledger;
    if let Err(error) = ledger.drop_forgotten(&dirs.cni, container).await {
        tracing::warn!(
            %container,
            error = crate::report::chain(&error),
            "cannot remove the note that the container was forgotten; it only matters if the ledger loses the container"
        );
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
