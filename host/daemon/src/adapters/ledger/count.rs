//! Counts a directory's sandboxes without listing it on each ADD. The cached number may be stale,
//! so it is recounted before an ADD is refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cni_types::args::ContainerId;
use parking_lot::{Mutex, MutexGuard};

/// A bound on the sandboxes of one directory.
#[derive(Debug, Clone)]
pub(super) struct Count {
    limit: usize,
    known: Arc<Mutex<HashMap<PathBuf, usize>>>,
}

impl Count {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            known: Arc::default(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is room for another one.
    pub(super) fn admits(&self, dir: &Path) -> bool {
        let known = self.known().get(dir).copied();
        if known.is_some_and(|known| known < self.limit) {
            return true;
        }
        let counted = count(dir);
        self.known().insert(dir.to_owned(), counted);
        counted < self.limit
    }

    pub(super) fn one_more(&self, dir: &Path) {
        if let Some(known) = self.known().get_mut(dir) {
            *known += 1;
        }
    }

    pub(super) fn one_less(&self, dir: &Path) {
        if let Some(known) = self.known().get_mut(dir) {
            *known = known.saturating_sub(1);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        self.known.lock()
    }
}

/// The number of sandbox files. Zero if the directory cannot be read: writing to it reports that.
pub(super) fn count(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of_sandboxes = files.filter(|file| {
        ContainerId::new(file.file_name().to_string_lossy()).is_ok()
            && file.file_type().is_ok_and(|kind| kind.is_file())
    });
    of_sandboxes.count()
}
