//! Prepares an uninstallation: attachments whose pod is gone will get no DEL once the runtime does
//! not execute the shim, so they are undone now. Those of running pods stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use cni_types::args::ContainerId;
use futures_util::StreamExt as _;

use super::dirs::Dirs;
use super::pod_netns;
use super::retries::all_pending;
use super::turns::Work;
use super::{Error, Pipeline};
use crate::domain::sandbox::Sandbox;
use crate::ports::Recorded;

/// How many containers are inspected concurrently.
const AT_ONCE: usize = 8;

/// Schedules the undo of all containers whose network namespace is gone.
///
/// # Errors
/// [`Error::Ledger`] if the directory cannot be read.
pub(super) async fn undo_gone(pipeline: &Arc<Pipeline>, dirs: &Dirs) -> Result<(), Error> {
    let listing = pipeline.ports.ledger.list(&dirs.cni).await?;
    let containers: BTreeSet<ContainerId> = listing
        .entries
        .into_iter()
        .map(|entry| entry.container_id)
        .collect();
    futures_util::stream::iter(containers)
        .for_each_concurrent(AT_ONCE, |container| async move {
            undo_one(pipeline, dirs, &container).await;
        })
        .await;
    Ok(())
}

async fn undo_one(pipeline: &Pipeline, dirs: &Dirs, container: &ContainerId) {
    if pipeline.retries.has(&dirs.cni, container) {
        return;
    }
    let _turn = pipeline.turns.take(container, Work::Undo).await;
    let sandbox = Sandbox::recorded(container.clone());
    let entries = match pipeline.ports.ledger.find(&dirs.cni, &sandbox).await {
        Ok(Recorded::Whole(entries)) => entries,
        // A damaged record names neither the namespace nor what to undo: it stays for an operator.
        _ => return,
    };
    for entry in &entries {
        if pod_netns::is_there(pipeline, dirs, entry).await {
            return;
        }
    }
    if !entries.is_empty() {
        tracing::info!(%container, "undoing the attachments of a pod that is gone");
        let reason = "its pod was gone when the daemon was uninstalled";
        let retries = &pipeline.retries;
        retries.undo_soon(dirs, container, all_pending(&entries, reason));
    }
}
