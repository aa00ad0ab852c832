//! What is recorded, and must not be kept, when the daemon starts: it is undone in the background.
//!
//! - Sandboxes from before a reboot: their namespaces are gone, and the runtime may not remember
//!   them. They are also undone before an ADD that reuses their id.
//! - Attachments of this boot whose namespaces are gone: the runtime has its answer to a DEL, and
//!   the record of the promised undo was lost.
//! - Hot-plugs that an earlier daemon did not live to finish.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use cni_types::args::ContainerId;
use futures_util::StreamExt as _;

use super::dirs::Dirs;
use super::retries::all_pending;
use super::salvage::Damage;
use super::turns::Work;
use super::{Pipeline, pod_netns, salvage};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{AtPath, Undo};
use crate::supervision;

/// How many containers are inspected and scheduled concurrently.
const AT_ONCE: usize = 8;

/// Schedules the undo of what earlier daemons left. Called once at start.
pub(super) async fn undo(pipeline: &Arc<Pipeline>, dirs: &Dirs) {
    let listing = match pipeline.ports.ledger.list(&dirs.cni).await {
        Ok(listing) => listing,
        Err(error) => {
            tracing::error!(
                dir = %dirs.cni.display(),
                error = crate::report::chain(&error),
                "cannot list the ledger; attachments of an earlier boot wait for their runtime's requests"
            );
            return;
        }
    };
    let all = listing
        .entries
        .iter()
        .map(|entry| entry.container_id.clone());
    pipeline.traces.list(&dirs.cni, all);
    let mut earlier: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
    let mut left: BTreeSet<ContainerId> = BTreeSet::new();
    for entry in listing.entries {
        if is_earlier(pipeline, &entry) {
            let entries = earlier.entry(entry.container_id.clone()).or_default();
            entries.push(entry);
        } else if !left.contains(&entry.container_id) {
            // There may be a hundred thousand; requests go on between two.
            tokio::task::yield_now().await;
            if is_left(pipeline, dirs, &entry).await {
                left.insert(entry.container_id);
            }
        }
    }
    if !earlier.is_empty() {
        let count = earlier.len();
        tracing::info!(count, "undoing sandboxes of an earlier boot");
    }
    let schedule = |(container, entries): (ContainerId, Vec<Entry>)| async move {
        schedule(pipeline, dirs, &container, &entries).await;
    };
    futures_util::stream::iter(earlier)
        .for_each_concurrent(AT_ONCE, schedule)
        .await;
    let schedule_left = |container: ContainerId| async move {
        schedule_left(pipeline, dirs, &container).await;
    };
    futures_util::stream::iter(left)
        .for_each_concurrent(AT_ONCE, schedule_left)
        .await;
}

/// Whether an attachment of this boot must be undone although nothing asks for it: its namespace is
/// gone, or its hot-plug has not ended.
async fn is_left(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    entry.is_unfinished() || pod_netns::has_ended(pipeline, dirs, entry).await
}

/// Schedules the undo of what is left of a container, apart from what is pending already.
async fn schedule_left(pipeline: &Pipeline, dirs: &Dirs, container: &ContainerId) {
    // The container may have been attached again since the listing.
    let held = pipeline.turns.take(container, Work::Undo).await;
    let _turn = held.leaving_records();
    let sandbox = Sandbox::recorded(container.clone());
    let (ledger, retries) = (&pipeline.ports.ledger, &pipeline.retries);
    let recorded = match ledger.load(&dirs.cni, &sandbox).await {
        Ok(None) => ledger.results(&dirs.cni, &sandbox).await,
        // What is damaged waits for a DEL or a GC, which may know more.
        recorded => recorded.map(Option::unwrap_or_default),
    };
    let undo = retries.get(&dirs.cni, container);
    let is_pending = |entry: &Entry| {
        let is_meant = |undo: &Undo| undo.attachments.is_empty() || undo.of(entry).is_some();
        undo.as_ref().is_some_and(is_meant)
    };
    let mut left = Vec::new();
    for entry in recorded.unwrap_or_default() {
        if !is_pending(&entry) && is_left(pipeline, dirs, &entry).await {
            left.push(entry);
        }
    }
    if left.is_empty() {
        return;
    }
    tracing::warn!(
        %container,
        attachments = left.len(),
        "undoing attachments that an earlier daemon left: their namespace is gone, or their hot-plug did not end"
    );
    let reason = "it was left when the daemon started";
    retries.undo_soon(dirs, container, all_pending(&left, reason));
}

/// Schedules the undo of a container's attachments from an earlier boot.
async fn schedule(pipeline: &Arc<Pipeline>, dirs: &Dirs, container: &ContainerId, known: &[Entry]) {
    for entry in known {
        if is_in_use(pipeline, entry).await {
            tracing::warn!(
                %container,
                interface = %entry.if_name,
                "the attachment is older than this boot, but a namespace is at its path; \
                 leaving it to the runtime's DEL or GC"
            );
            return;
        }
    }
    // The container may have been attached again since the listing.
    let held = pipeline.turns.take(container, Work::Undo).await;
    // Recorded DELs are carried out beside this; each says what to do in its own namespace.
    let turn = held.leaving_records();
    let sandbox = Sandbox::recorded(container.clone());
    let recorded = match Damage::apart(pipeline.ports.ledger.find(&dirs.cni, &sandbox).await) {
        Ok(Ok(Some(entries))) => Ok(entries),
        // Known only from the result cache, which the undo reads again.
        Ok(Ok(None)) => Ok(known.to_vec()),
        Ok(Err(damage)) => {
            let readable = salvage::readable(pipeline, dirs, container, &damage).await;
            if readable.iter().any(|entry| !is_earlier(pipeline, entry)) {
                return;
            }
            // A delegate that hangs must not hold up the other containers.
            let (pipeline, dirs) = (Arc::clone(pipeline), dirs.clone());
            let container = container.clone();
            let giving_up = async move {
                let _turn = turn;
                give_up_rest(&pipeline, &dirs, &container, damage, &readable).await;
            };
            tokio::spawn(supervision::once("undo of a damaged record", giving_up));
            return;
        }
        Err(error) => Err(error),
    };
    let entries = match recorded {
        Ok(entries) => entries,
        Err(error) => {
            tracing::error!(
                %container,
                error = crate::report::chain(&error),
                "cannot read the attachments that an earlier boot left; they wait for the runtime's DEL or GC"
            );
            return;
        }
    };
    let mut entries = entries;
    entries.retain(|entry| is_earlier(pipeline, entry));
    let retries = &pipeline.retries;
    if !entries.is_empty() && !retries.has(&dirs.cni, container) {
        let reason = "the node was started again since it was attached";
        retries.undo_soon(dirs, container, all_pending(&entries, reason));
    }
}

/// Undoes `readable` of a container whose record is damaged; the rest cannot be in use either.
async fn give_up_rest(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    damage: Damage,
    readable: &[Entry],
) {
    let salvaged = salvage::of_earlier_boot(pipeline, dirs, container, damage, readable).await;
    if let Err(error) = salvaged {
        tracing::error!(
            %container,
            error = crate::report::chain(&error),
            "cannot set aside the container's damaged record of an earlier boot; its next ADD or DEL tries again"
        );
    }
}

/// Whether the node was rebooted after the attachment was made.
fn is_earlier(pipeline: &Pipeline, entry: &Entry) -> bool {
    let recorded = entry.namespace.as_ref();
    recorded.is_some_and(|namespace| pipeline.ports.pod_network.is_of_earlier_boot(namespace))
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
    let found = pipeline.ports.pod_network.at(Path::new(path)).await;
    !matches!(found, Ok(AtPath::Nothing | AtPath::Node))
}
