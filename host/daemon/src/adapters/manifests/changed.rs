//! Which files of the directory changed, as far as inotify says.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use inotify::{Event, EventMask};

/// With more names than this, every file counts as changed.
const MAX_NAMES: usize = 4096;

/// The files that have to be read again even if they look the same.
#[derive(Debug, Default)]
pub(super) struct Changed {
    names: BTreeSet<OsString>,
    /// All of them: events were lost.
    all: bool,
}

impl Changed {
    /// Every file counts as changed.
    pub(super) fn all(&mut self) {
        self.names.clear();
        self.all = true;
    }

    pub(super) fn note(&mut self, event: &Event<&OsStr>) {
        let is_lost = event.mask.contains(EventMask::Q_OVERFLOW);
        if is_lost || self.names.len() >= MAX_NAMES {
            self.all();
        } else if let Some(name) = event.name.filter(|_| !self.all) {
            self.names.insert(name.to_owned());
        }
    }

    /// Whether the file with this name changed.
    pub(super) fn has(&self, name: &OsStr) -> bool {
        self.all || self.names.contains(name)
    }
}
