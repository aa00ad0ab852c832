//! What an earlier boot of the node left.

use std::sync::Arc;

use cni_types::args::ContainerId;
use futures_util::StreamExt as _;

use super::Pipeline;
use super::dirs::Dirs;
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;

/// Containers that are looked at and scheduled at the same time.
const AT_ONCE: usize = 8;

/// Undoes the sandboxes of the boot before: their namespaces are gone, and no runtime may remember
/// them. Called once at the start.
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
    let is_earlier = |entry: &Entry| {
        let recorded = entry.namespace.as_ref();
        recorded.is_some_and(|namespace| pipeline.pod_network.is_of_earlier_boot(namespace))
    };
    let mut containers: Vec<ContainerId> = listing
        .entries
        .into_iter()
        .filter(is_earlier)
        .map(|entry| entry.container_id)
        .collect();
    containers.dedup();
    if containers.is_empty() {
        return;
    }
    let count = containers.len();
    tracing::info!(count, "undoing sandboxes of an earlier boot");
    let schedule = |container: ContainerId| async move {
        // Since the list was made, the container may have been attached anew.
        let _turn = pipeline.turns.take(&container).await;
        let sandbox = Sandbox::recorded(container.clone());
        let recorded = pipeline.ledger.load(&dirs.cni, &sandbox).await;
        let entries = recorded.ok().flatten().unwrap_or_default();
        let retries = &pipeline.retries;
        if entries.iter().any(is_earlier) && !retries.has(&dirs.cni, &container) {
            let reason = "the node was started again since it was attached";
            retries.undo_soon(dirs, &container, &entries, reason);
        }
    };
    futures_util::stream::iter(containers)
        .for_each_concurrent(AT_ONCE, schedule)
        .await;
}
