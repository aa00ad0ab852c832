//! Lists a whole directory of the ledger.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use cni_types::args::ContainerId;

use super::recovery::{self, Unplanned};
use super::{Files, failed, from_cache};
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::ports::{LedgerError, Listing};

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
                Err(error) => listing.unreadable.push((container, error)),
            }
        }
        let unplanned =
            recovery::all_unplanned(&self.results_of(cni_dir), &listing.entries, &incomplete);
        let Unplanned { entries, lost } = unplanned.map_err(from_cache)?;
        listing.entries.extend(entries);
        listing.unreadable.extend(
            lost.into_iter()
                .map(|(container, lost)| (container, LedgerError::Lost(lost))),
        );
        Ok(listing)
    }
}
