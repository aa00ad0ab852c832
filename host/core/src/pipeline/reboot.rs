//! Sandboxes from before a reboot: their namespaces are gone, and the runtime may not remember
//! them. They are undone in the background at start, and before an ADD that reuses their id.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cni_types::args::ContainerId;
use futures_util::StreamExt as _;

use super::dirs::Dirs;
use super::{Error, Pipeline};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{AtPath, LedgerError};

/// How many containers are inspected and scheduled concurrently.
const AT_ONCE: usize = 8;

/// The containers of earlier boots in each ledger directory already scanned: there, an ADD need not
/// look for earlier results of a container that is not listed.
#[derive(Debug, Default)]
pub(super) struct Earlier(Mutex<HashMap<PathBuf, HashSet<ContainerId>>>);

impl Earlier {
    fn found(&self, cni_dir: &Path, containers: HashSet<ContainerId>) {
        let mut earlier = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.insert(cni_dir.to_owned(), containers);
    }

    /// Whether results of the container from an earlier boot may exist.
    fn may_have(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let earlier = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = earlier.get(cni_dir);
        found.is_none_or(|containers| containers.contains(container))
    }
}

/// The container's attachments from an earlier boot that only the result cache has.
///
/// # Errors
/// [`Error::Ledger`] if the results cannot be read.
pub(super) async fn results(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
) -> Result<Vec<Entry>, Error> {
    if !pipeline.earlier.may_have(&dirs.cni, container) {
        return Ok(Vec::new());
    }
    let sandbox = Sandbox::recorded(container.clone());
    let results = pipeline.ledger.results(&dirs.cni, &sandbox).await?;
    // If one is from this boot, a DEL handles them all.
    let is_earlier = results.iter().all(|entry| is_earlier(pipeline, entry));
    Ok(if is_earlier { results } else { Vec::new() })
}

/// Schedules the undo of all sandboxes from earlier boots. Called once at start.
pub(super) async fn undo(pipeline: &Arc<Pipeline>, dirs: &Dirs) {
    let listing = match pipeline.ledger.list(&dirs.cni).await {
        Ok(listing) => listing,
        Err(error) => {
            tracing::error!(
                dir = %dirs.cni.display(),
                error = crate::report::chain(&error),
                "cannot look for sandboxes of an earlier boot"
            );
            return;
        }
    };
    let mut earlier: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
    for entry in listing.entries {
        if is_earlier(pipeline, &entry) {
            let entries = earlier.entry(entry.container_id.clone()).or_default();
            entries.push(entry);
        }
    }
    let containers = earlier.keys().cloned().collect();
    pipeline.earlier.found(&dirs.cni, containers);
    if earlier.is_empty() {
        return;
    }
    let count = earlier.len();
    tracing::info!(count, "undoing sandboxes of an earlier boot");
    let schedule = |(container, entries): (ContainerId, Vec<Entry>)| async move {
        schedule(pipeline, dirs, &container, &entries).await;
    };
    futures_util::stream::iter(earlier)
        .for_each_concurrent(AT_ONCE, schedule)
        .await;
}

/// Schedules the undo of a container's attachments from an earlier boot.
async fn schedule(pipeline: &Arc<Pipeline>, dirs: &Dirs, container: &ContainerId, known: &[Entry]) {
    for entry in known {
        if is_in_use(pipeline, entry).await {
            tracing::warn!(
                %container,
                interface = %entry.if_name,
                "recorded before the node was started, but a namespace is at its path; \
                 leaving it to the runtime's DEL or GC"
            );
            return;
        }
    }
    // The container may have been attached again since the listing.
    let _turn = pipeline.turns.take(container).await;
    let sandbox = Sandbox::recorded(container.clone());
    let recorded = match pipeline.ledger.load(&dirs.cni, &sandbox).await {
        Ok(Some(entries)) => Ok(entries),
        // Known only from the result cache, which the undo reads again.
        Ok(None) => Ok(known.to_vec()),
        // Lost attachments are left to a DEL.
        Err(LedgerError::Lost { .. } | LedgerError::Damaged { .. }) => return,
        Err(error) => Err(error),
    };
    let entries = match recorded {
        Ok(entries) => entries,
        Err(error) => {
            tracing::error!(
                %container,
                error = crate::report::chain(&error),
                "cannot undo what an earlier boot left"
            );
            return;
        }
    };
    let mut entries = entries;
    entries.retain(|entry| is_earlier(pipeline, entry));
    let retries = &pipeline.retries;
    if !entries.is_empty() && !retries.has(&dirs.cni, container) {
        let reason = "the node was started again since it was attached";
        retries.undo_soon(dirs, container, &entries, reason);
    }
}

/// Whether the node was rebooted after the attachment was made.
fn is_earlier(pipeline: &Pipeline, entry: &Entry) -> bool {
    let recorded = entry.namespace.as_ref();
    recorded.is_some_and(|namespace| pipeline.pod_network.is_of_earlier_boot(namespace))
}

/// Whether an attachment may be in use although its file predates the boot: the clock may have been
/// wrong when Multus wrote it. A recorded identity leaves no such doubt.
async fn is_in_use(pipeline: &Pipeline, entry: &Entry) -> bool {
    let recorded = entry.namespace.as_ref();
    if recorded.is_some_and(|namespace| namespace.is_identified()) {
        return false;
    }
    let path = entry.netns.as_deref().filter(|path| !path.is_empty());
    let Some(path) = path else {
        return false;
    };
    let found = pipeline.pod_network.at(Path::new(path)).await;
    !matches!(found, Ok(AtPath::Nothing | AtPath::Node))
}
