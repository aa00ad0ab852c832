//! What the ledger has, in all its directories, at one moment.

use std::collections::{BTreeMap, BTreeSet};

use cni_types::args::{ContainerId, IfName};
use cni_types::conf::NetworkConfList;

use super::super::Pipeline;
use super::super::dirs::Dirs;
use crate::domain::entry::Entry;

/// A container in one directory, as it was recorded. A later attachment under the same id is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Recorded {
    dir: std::path::PathBuf,
    pub(super) container: ContainerId,
    /// Each interface with the time of its ADD, and the cookie and path of its namespace.
    attachments: Vec<(IfName, Option<u64>, Option<u64>, String)>,
}

impl Recorded {
    pub(super) fn of(dirs: &Dirs, container: &ContainerId, entries: &[Entry]) -> Self {
        let attachment = |entry: &Entry| {
            let netns = entry.netns.clone().unwrap_or_default();
            let cookie = entry.namespace.as_ref().and_then(|one| one.cookie);
            (entry.if_name.clone(), entry.added_at, cookie, netns)
        };
        let mut attachments: Vec<_> = entries.iter().map(attachment).collect();
        attachments.sort();
        Self {
            dir: dirs.cni.to_path_buf(),
            container: container.clone(),
            attachments,
        }
    }
}

/// The containers of all directories.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    /// Those whose records can be read.
    pub(super) containers: BTreeMap<Recorded, (Dirs, Vec<Entry>)>,
    /// Every container of which anything is recorded.
    pub(super) known: BTreeSet<ContainerId>,
    /// Whether all directories could be read.
    pub(super) is_complete: bool,
}

impl Ledgers {
    pub(super) async fn read(pipeline: &Pipeline) -> Self {
        let mut found = Self {
            is_complete: !pipeline.directories.are_incomplete(),
            ..Self::default()
        };
        let ledger = &pipeline.ports.ledger;
        for dirs in pipeline.directories.all() {
            let listing = match ledger.list(&dirs.cni).await {
                Ok(_) if ledger.is_missing(&dirs.cni).await => {
                    found.is_complete = false;
                    continue;
                }
                Ok(listing) => listing,
                Err(error) => {
                    tracing::error!(
                        dir = %dirs.cni.display(),
                        error = crate::report::chain(&error),
                        "cannot list a cniDir; nothing of it is collected"
                    );
                    found.is_complete = false;
                    continue;
                }
            };
            let unreadable = listing.unreadable.into_iter().map(|(id, _)| id);
            found.known.extend(unreadable);
            match ledger.deferred(&dirs.cni).await {
                Ok(deferred) => found.known.extend(deferred),
                Err(_) => found.is_complete = false,
            }
            let mut containers: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
            for entry in listing.entries {
                let entries = containers.entry(entry.container_id.clone()).or_default();
                entries.push(entry);
            }
            for (container, entries) in containers {
                let key = Recorded::of(&dirs, &container, &entries);
                found.known.insert(container);
                found.containers.insert(key, (dirs.clone(), entries));
            }
        }
        found
    }

    /// The confs of all attachments.
    pub(super) fn confs(&self) -> impl Iterator<Item = &NetworkConfList> {
        let entries = self.containers.values().flat_map(|(_, entries)| entries);
        entries.map(|entry| &entry.conf)
    }
}
