//! The attachments of all directories in memory, for policies that look at them. Kept only while one
//! of them is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::{Ledger as _, LedgerError, Standing, StandingAttachment};
use cnidaria_core::report::chain;
use cnidaria_core::supervision;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::Files;

/// Pause before the ledger is read again after an error.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Index {
    kept: RwLock<Kept>,
    /// The ledger and the daemon's own directory, once there is one.
    ledger: OnceLock<(Files, PathBuf)>,
    reading: Mutex<Option<tokio::task::AbortHandle>>,
}

#[derive(Debug, Default)]
enum Kept {
    /// No policy needs the attachments.
    #[default]
    Nothing,
    /// The ledger is being read. What changes meanwhile is newer than what is read.
    Partial {
        known: Attachments,
        changed: BTreeSet<(PathBuf, String)>,
    },
    All(Attachments),
}

/// Attachments by container, interface and directory.
type Attachments = BTreeMap<String, (PathBuf, StandingAttachment)>;

impl Index {
    fn read_from(self: &Arc<Self>, ledger: Files, cni_dir: PathBuf) {
        // It only reads: without the index it does not keep itself alive.
        let ledger = Files {
            index: None,
            ..ledger
        };
        let _ = self.ledger.set((ledger, cni_dir));
        let is_needed = matches!(*self.write(), Kept::Partial { .. });
        if is_needed {
            self.read();
        }
    }

    /// An attachment has a result, or another one.
    pub(super) fn add(&self, cni_dir: &Path, entry: &Entry) {
        self.change(cni_dir, entry.container_id.as_str(), |known| {
            insert(known, cni_dir, entry);
        });
    }

    /// An attachment is undone.
    pub(super) fn remove(&self, cni_dir: &Path, entry: &Entry) {
        let container = entry.container_id.as_str();
        self.change(cni_dir, container, |known| {
            known.remove(&key(container, entry.if_name.as_str(), cni_dir));
        });
    }

    /// A container has these attachments and no others.
    pub(super) fn retain(&self, cni_dir: &Path, container: &str, entries: &[Entry]) {
        self.change(cni_dir, container, |known| {
            let of_container = format!("{container}/");
            let range = known.range(of_container.clone()..);
            let own = range.take_while(|(key, _)| key.starts_with(&of_container));
            let is_gone = |(dir, one): &(PathBuf, StandingAttachment)| {
                dir == cni_dir
                    && !entries
                        .iter()
                        .any(|entry| entry.if_name.as_str() == one.if_name)
            };
            let gone: Vec<String> = own
                .filter(|(_, one)| is_gone(one))
                .map(|(key, _)| key.clone())
                .collect();
            for key in gone {
                known.remove(&key);
            }
        });
    }

    fn change(&self, cni_dir: &Path, container: &str, change: impl FnOnce(&mut Attachments)) {
        match &mut *self.write() {
            Kept::Nothing => {}
            Kept::Partial { known, changed } => {
                changed.insert((cni_dir.to_owned(), container.to_owned()));
                change(known);
            }
            Kept::All(known) => change(known),
        }
    }

    /// Reads the ledger in the background, until it succeeds.
    fn read(self: &Arc<Self>) {
        let Some((ledger, cni_dir)) = self.ledger.get().cloned() else {
            return;
        };
        let state = (Arc::clone(self), ledger, cni_dir);
        let reading = supervision::spawn("index of attachments", state, |state| {
            let (index, ledger, cni_dir) = &*state;
            Box::pin(index.read_until_complete(ledger, cni_dir))
        });
        let former = self.reading.lock().replace(reading.abort_handle());
        if let Some(former) = former {
            former.abort();
        }
    }

    async fn read_until_complete(&self, ledger: &Files, cni_dir: &Path) {
        loop {
            match all(ledger, cni_dir).await {
                Ok(entries) => return self.complete(entries),
                Err(error) => tracing::error!(
                    error = chain(&error),
                    "cannot read the attachments for policies; they are unavailable until it succeeds"
                ),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn complete(&self, entries: Vec<(PathBuf, Entry)>) {
        let mut kept = self.write();
        let Kept::Partial { known, changed } = &mut *kept else {
            return;
        };
        let mut known = std::mem::take(known);
        for (cni_dir, entry) in &entries {
            let container = (cni_dir.clone(), entry.container_id.to_string());
            if !changed.contains(&container) {
                insert(&mut known, cni_dir, entry);
            }
        }
        *kept = Kept::All(known);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write()
    }
}

/// The index as the policies' port.
#[derive(Debug, Clone, Default)]
pub struct Indexed(pub(super) Arc<Index>);

impl Indexed {
    /// Reads from `ledger`, whose own directory is `cni_dir`.
    pub fn read_from(&self, ledger: Files, cni_dir: PathBuf) {
        self.0.read_from(ledger, cni_dir);
    }
}

impl Standing for Indexed {
    fn keep(&self, is_needed: bool) {
        let mut kept = self.0.write();
        match (is_needed, &*kept) {
            (true, Kept::Nothing) => {
                *kept = Kept::Partial {
                    known: BTreeMap::new(),
                    changed: BTreeSet::new(),
                };
                drop(kept);
                self.0.read();
            }
            (false, Kept::Partial { .. } | Kept::All(_)) => *kept = Kept::Nothing,
            _ => {}
        }
    }

    fn visit(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &StandingAttachment) -> ControlFlow<()>,
    ) -> bool {
        let kept = self.0.kept.read();
        let Kept::All(known) = &*kept else {
            return false;
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, (_, one)) in known.range::<str, _>((start, Bound::Unbounded)) {
            if visit(key, one).is_break() {
                break;
            }
        }
        true
    }
}

/// Everything recorded, with its directory.
async fn all(ledger: &Files, cni_dir: &Path) -> Result<Vec<(PathBuf, Entry)>, LedgerError> {
    let mut dirs = vec![cni_dir.to_owned()];
    let remembered = ledger.directories().await?;
    dirs.extend(remembered.directories.into_iter().map(|one| one.cni_dir));
    let mut all = Vec::new();
    for dir in dirs {
        let listing = ledger.list(&dir).await?;
        all.extend(
            listing
                .entries
                .into_iter()
                .map(|entry| (dir.clone(), entry)),
        );
    }
    Ok(all)
}

fn insert(known: &mut Attachments, cni_dir: &Path, entry: &Entry) {
    if let Some(one) = StandingAttachment::of(entry) {
        let key = key(&one.container_id, &one.if_name, cni_dir);
        known.insert(key, (cni_dir.to_owned(), one));
    }
}

fn key(container: &str, if_name: &str, cni_dir: &Path) -> String {
    format!("{container}/{if_name}/{}", cni_dir.display())
}

#[cfg(test)]
mod tests;
