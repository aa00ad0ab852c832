//! Lists a whole directory of the ledger.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use cni_types::args::ContainerId;
use libcni::cache::Cache;

use super::recovery::{self, Unplanned};
use super::{Files, failed, from_cache, key};
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::ports::{LedgerError, Listing};

/// When a file of an attachment was written, as far as the file system knows.
fn added_at(file: &Path) -> Option<u64> {
    let written = file.symlink_metadata().ok()?.modified().ok()?;
    let since = written.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

impl Files {
    /// Reads every sandbox. Takes time proportional to the number of files.
    pub(super) fn read_all(&self, cni_dir: &Path) -> Result<Listing, LedgerError> {
        let mut listing = Listing::default();
        let mut incomplete = BTreeSet::new();
        let files = match std::fs::read_dir(cni_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            files => files.map_err(failed("read", cni_dir))?,
        };
        for file in files {
            let file = file.map_err(failed("read", cni_dir))?;
            let Ok(container) = ContainerId::new(file.file_name().to_string_lossy()) else {
                continue;
            };
            if file.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match self.stored(cni_dir, &Sandbox::recorded(container.clone())) {
                Ok(Some(found)) => {
                    if !found.is_complete {
                        incomplete.insert(container);
                    }
                    listing.entries.extend(found.entries);
                }
                Ok(None) => {}
                Err(error) => {
                    // Names of its damaged results tell which interfaces it has.
                    incomplete.insert(container.clone());
                    listing.unreadable.push((container, error));
                }
            }
        }
        let unplanned =
            recovery::all_unplanned(&self.results_of(cni_dir), &listing.entries, &incomplete);
        let Unplanned { entries, lost } = unplanned.map_err(from_cache)?;
        listing.entries.extend(entries);
        let cache = Cache::new(cni_dir);
        for entry in &mut listing.entries {
            // Multus and older daemons do not record it.
            let written = || {
                let plan = || added_at(&cni_dir.join(entry.container_id.as_str()));
                added_at(&cache.path(&key(entry))).or_else(plan)
            };
            entry.added_at = entry.added_at.or_else(written);
        }
        listing.unreadable.extend(
            lost.into_iter()
                .map(|(container, lost)| (container, LedgerError::Lost(lost))),
        );
        Ok(listing)
    }
}
