//! The containers that may have something in the ledger or in the result cache. For every other
//! container an ADD need not search the result cache, which has a file for each attachment on the
//! node.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use cni_types::args::ContainerId;
use parking_lot::{Mutex, MutexGuard};

/// The containers of each ledger directory.
#[derive(Debug, Default)]
pub(super) struct Traces(Mutex<HashMap<PathBuf, Known>>);

#[derive(Debug, Default)]
struct Known {
    containers: HashSet<ContainerId>,
    /// Whether the containers that an earlier daemon left are among them.
    is_listed: bool,
}

impl Traces {
    /// Adds the containers that were in the directory when this daemon started.
    pub(super) fn list(&self, cni_dir: &Path, containers: impl Iterator<Item = ContainerId>) {
        let mut all = self.lock();
        let known = all.entry(cni_dir.to_owned()).or_default();
        known.containers.extend(containers);
        known.is_listed = true;
    }

    /// Adds a container that is being attached.
    pub(super) fn insert(&self, cni_dir: &Path, container: &ContainerId) {
        let mut all = self.lock();
        let known = all.entry(cni_dir.to_owned()).or_default();
        known.containers.insert(container.clone());
    }

    /// Removes a container of which nothing is left.
    pub(super) fn remove(&self, cni_dir: &Path, container: &ContainerId) {
        if let Some(known) = self.lock().get_mut(cni_dir) {
            known.containers.remove(container);
        }
    }

    /// Whether results of the container may exist.
    pub(super) fn may_have(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let all = self.lock();
        let known = all.get(cni_dir).filter(|known| known.is_listed);
        known.is_none_or(|known| known.containers.contains(container))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Known>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unlisted_directories_need_a_search() {
        let traces = Traces::default();
        let id = |name: &str| ContainerId::new(name).unwrap();
        let dir = Path::new("/l");
        traces.insert(dir, &id("a"));
        assert!(traces.may_have(dir, &id("x")), "not listed yet");
        traces.list(dir, [id("b")].into_iter());
        assert!(traces.may_have(dir, &id("a")) && traces.may_have(dir, &id("b")));
        assert!(!traces.may_have(dir, &id("x")));
        traces.remove(dir, &id("a"));
        assert!(!traces.may_have(dir, &id("a")));
    }
}
