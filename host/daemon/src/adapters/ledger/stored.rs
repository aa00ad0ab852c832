//! One sandbox as it is on disk.

use std::io;
use std::path::{Path, PathBuf};

use libcni::cache::Cache;

use super::delegates_file::{self, Writer};
use super::recovery::{self, complete};
use super::{Files, failed, file, from_cache};
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::sandbox::{RESULTS_DIR, Sandbox};
use cnidaria_core::ports::LedgerError;

/// A sandbox, from its file or else from the result cache.
pub(super) struct StoredSandbox {
    pub(super) entries: Vec<Entry>,
    /// Why the file cannot be used.
    pub(super) damage: Option<String>,
    /// Damaged result files, which are left out.
    pub(super) damaged_results: Vec<PathBuf>,
    /// Whether the plan lists everything. Multus records no plan for networks that it hot-plugs.
    pub(super) is_complete: bool,
}

impl Files {
    /// Finds a sandbox in its file or the result cache. Changes nothing.
    pub(super) fn stored(
        &self,
        cni_dir: &Path,
        sandbox: &Sandbox,
    ) -> Result<Option<StoredSandbox>, LedgerError> {
        if sandbox.container_id.as_str() == RESULTS_DIR {
            return Ok(None);
        }
        let path = cni_dir.join(sandbox.container_id.as_str());
        let text = match file::read(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if file::is_odd(&error) => Err(error.to_string()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let cache = Cache::new(cni_dir);
        // A plan by Multus does not name the container's own interface.
        let named = Sandbox {
            if_name: recovery::own_interface(&self.results_of(cni_dir), sandbox)
                .map_err(from_cache)?,
            ..sandbox.clone()
        };
        match text.and_then(|text| delegates_file::read(&text, &named)) {
            Ok((mut entries, writer)) => {
                let mut damaged_results = Vec::new();
                for entry in &mut entries {
                    damaged_results.extend(complete(entry, writer, &cache)?);
                    if entry.namespace.is_none() {
                        entry.namespace = self.boot.namespace(&path);
                    }
                }
                Ok(Some(StoredSandbox {
                    entries,
                    damage: None,
                    damaged_results,
                    is_complete: writer == Writer::Cnidaria,
                }))
            }
            Err(reason) => {
                let (entries, errors) = recovery::from_results(&self.results_of(cni_dir), sandbox)
                    .map_err(from_cache)?;
                // An attachment whose result is also damaged would be forgotten.
                if entries.is_empty() || !errors.is_empty() {
                    return Err(LedgerError::Damaged { path, reason });
                }
                Ok(Some(StoredSandbox {
                    entries,
                    damage: Some(reason),
                    damaged_results: Vec::new(),
                    is_complete: true,
                }))
            }
        }
    }
}
