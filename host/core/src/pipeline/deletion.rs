//! What a DEL undoes: everything that is recorded for the container or, without a record, what
//! result cache and cluster know. Requests and recorded DELs share it; the caller holds the
//! container's turn.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future;

use super::cluster_entries::{Described, likely, of_cluster, of_default_network};
use super::dirs::Dirs;
use super::{Error, Pipeline, pod_netns, undo};
use crate::domain::entry::{self, Entry};
use crate::domain::namespace::Namespace;
use crate::domain::sandbox::Sandbox;
use crate::ports::{LedgerError, Lost, Recorded};
use crate::stages::request::PodRequest;

/// Detaches what is recorded or, if that is damaged or missing, what result cache and cluster know.
/// The caller holds the container's turn.
pub(super) async fn undo_all(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    recorded: Result<Recorded, LedgerError>,
) -> Result<(), Error> {
    let sandbox = request.sandbox();
    let entries = match recorded {
        Ok(Recorded::Whole(entries)) => {
            return planned(pipeline, dirs, request, (entries, Vec::new())).await;
        }
        Ok(Recorded::Nothing) => return unrecorded(pipeline, dirs, request, &[]).await,
        Err(LedgerError::Damaged { .. }) if !is_usual(request) => {
            let entries = likely(pipeline, request).await;
            return one_of(pipeline, dirs, request, &entries).await;
        }
        Err(damaged @ LedgerError::Damaged { .. }) => {
            let known = match of_cluster(pipeline, request).await {
                // Without its namespace and its pod, nothing better will ever be known.
                Described::Nothing if is_gone(pipeline, dirs, &sandbox).await => {
                    Some(of_default_network(pipeline, request).await.0)
                }
                known => known.all(),
            };
            let Some(entries) = known.filter(|entries| !entries.is_empty()) else {
                return undo::keep_error(pipeline, dirs, &sandbox, damaged.into()).await;
            };
            // Retries then use these entries, and operators can inspect the damaged file. The undo
            // also works without this.
            if let Err(error) = pipeline.ports.ledger.restore(&dirs.cni, &entries).await {
                tracing::error!(
                    container = %sandbox.container_id,
                    error = crate::report::chain(&error),
                    "could not replace the container's damaged ledger file; undoing its attachments anyway"
                );
            }
            entries
        }
        Ok(Recorded::Partial { known, lost }) => {
            return with_lost(pipeline, dirs, request, known, lost).await;
        }
        Err(error) => {
            return undo::keep_error(pipeline, dirs, &sandbox, error.into()).await;
        }
    };
    undo::entries_of(pipeline, dirs, &sandbox, &entries, Vec::new()).await
}

/// Detaches `meant` of a whole plan. If all of it was hot-plugged, another daemon attached the pod,
/// and what that one made is undone as well, whatever becomes of the hot-plugged attachments.
pub(super) async fn planned(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    (meant, hanging): (Vec<Entry>, Vec<Entry>),
) -> Result<(), Error> {
    let sandbox = request.sandbox();
    let all: Vec<Entry> = meant.iter().chain(&hanging).cloned().collect();
    let was_plugged = undo::Extent::of(&all) == undo::Extent::Plugged;
    let known = async {
        match meant.is_empty() && !hanging.is_empty() {
            true => Ok(()),
            false => undo::entries_of(pipeline, dirs, &sandbox, &meant, hanging).await,
        }
    };
    // Side by side: the hot-plugged attachments may hang.
    let before = async {
        match was_plugged {
            true => unrecorded(pipeline, dirs, request, &all).await,
            false => Ok(()),
        }
    };
    let (known, before) = Box::pin(future::join(known, before)).await;
    known.and(before)
}

/// Whether a request names the interface that runtimes give a container first. If nothing records
/// the container's own interface, only such a request is about the whole container; any other one
/// is about its interface alone.
pub(super) fn is_usual(request: &PodRequest) -> bool {
    request.if_name == Sandbox::recorded(request.container_id.clone()).if_name
}

/// Whether a DEL is about the whole container, as far as `known` tells.
pub(super) fn reaches_all(request: &PodRequest, known: &[Entry]) -> bool {
    match known.iter().any(|entry| entry.is_default) {
        true => entry::are_behind(known, &request.if_name),
        false => is_usual(request),
    }
}

/// Detaches those of `entries` that have the interface of the request, which names another one than
/// the container's own. What is recorded stays.
async fn one_of(
    pipeline: &Pipeline,
    dirs: &Dirs,
    request: &PodRequest,
    entries: &[Entry],
) -> Result<(), Error> {
    let (sandbox, if_name) = (request.sandbox(), &request.if_name);
    tracing::warn!(
        container = %request.container_id,
        interface = %if_name,
        "nothing records the container's own interface; undoing the interface of the DEL alone"
    );
    let is_meant = |entry: &&Entry| entry.if_name == *if_name;
    for entry in entries.iter().filter(is_meant) {
        undo::unrecorded(pipeline, dirs, &sandbox, entry).await?;
    }
    Ok(())
}

/// Whether a DEL names an interface other than the container's own, or another namespace while the
/// container's own exists, and so undoes nothing.
pub(super) async fn is_of_another(
    pipeline: &Pipeline,
    dirs: &Dirs,
    recorded: &Result<Recorded, LedgerError>,
    request: &PodRequest,
) -> bool {
    let sandbox = request.sandbox();
    for entry in known(pipeline, dirs, recorded, &sandbox).await.iter() {
        if pod_netns::is_apart(pipeline, entry).await {
            tracing::warn!(
                container = %request.container_id,
                pod = %entry.pod,
                named = entry.netns,
                own = entry.namespace.as_ref().and_then(|one| one.added_at.as_deref()),
                "DEL names another network namespace than that of the container, which exists; undoing nothing"
            );
            return true;
        }
    }
    let is_another = match recorded {
        Ok(Recorded::Whole(entries)) => !entry::are_behind(entries, &request.if_name),
        Ok(Recorded::Partial { known, .. }) => !reaches_all(request, known),
        _ => false,
    };
    if is_another {
        tracing::warn!(
            container = %request.container_id,
            interface = %request.if_name,
            "DEL names an interface other than the container's own; undoing nothing"
        );
    }
    is_another
}

/// Whether a DEL that was recorded in `named` is not about the container, because the container's
/// own namespace is another one and exists.
pub(super) async fn is_recorded_of_another(
    pipeline: &Pipeline,
    dirs: &Dirs,
    request: &PodRequest,
    named: &Namespace,
) -> bool {
    // Entries keep the paths at which they were made.
    let sandbox = Sandbox {
        netns: None,
        ..request.sandbox()
    };
    let recorded = pipeline.ports.ledger.find(&dirs.cni, &sandbox).await;
    for entry in known(pipeline, dirs, &recorded, &sandbox).await.iter() {
        if pod_netns::is_apart_from(pipeline, entry, named).await {
            tracing::warn!(
                container = %request.container_id,
                pod = %entry.pod,
                own = entry.netns,
                "a recorded DEL is of another network namespace than that of the container, which exists; undoing nothing"
            );
            return true;
        }
    }
    false
}

/// What is recorded for a container: its plan or, without one, its results.
async fn known<'a>(
    pipeline: &Pipeline,
    dirs: &Dirs,
    recorded: &'a Result<Recorded, LedgerError>,
    sandbox: &Sandbox,
) -> Cow<'a, [Entry]> {
    let (container, if_name) = (&sandbox.container_id, &sandbox.if_name);
    match recorded {
        Ok(Recorded::Whole(entries)) => Cow::Borrowed(entries),
        Ok(Recorded::Partial { known, .. }) => Cow::Borrowed(known),
        Ok(Recorded::Nothing) if !pipeline.undone.has(&dirs.cni, container, if_name) => {
            let results = pipeline.ports.ledger.results(&dirs.cni, sandbox);
            Cow::Owned(results.await.unwrap_or_default())
        }
        _ => Cow::Borrowed(&[]),
    }
}

/// Whether no namespace of the sandbox is at the path that its request names.
async fn is_gone(pipeline: &Pipeline, dirs: &Dirs, sandbox: &Sandbox) -> bool {
    let (container, netns) = (&sandbox.container_id, sandbox.netns.as_deref());
    pod_netns::is_gone(pipeline, dirs, container, netns).await
}

/// Detaches what is `known`, and what the cluster knows of the `lost`. If some remain lost, the
/// sandbox stays in the ledger.
async fn with_lost(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    mut known: Vec<Entry>,
    mut lost: Vec<Lost>,
) -> Result<(), Error> {
    let mut found = of_cluster(pipeline, request).await.entries();
    found.retain(|entry| lost.iter().any(|one| one.is(entry)));
    lost.retain(|one| !found.iter().any(|entry| one.is(entry)));
    let sandbox = request.sandbox();
    if lost.is_empty() {
        // The plan is complete from here on; the damaged files are no longer needed.
        let mut all = known.clone();
        all.extend(found.iter().cloned());
        pipeline.ports.ledger.record(&dirs.cni, &all).await?;
        for entry in &mut found {
            pipeline.ports.ledger.recall(&dirs.cni, entry).await?;
        }
        return undo::entries_of(pipeline, dirs, &sandbox, &all, Vec::new()).await;
    }
    known.extend(found);
    undo::known_of_lost(pipeline, dirs, &sandbox, &known, lost).await
}

/// Undoes a container that the ledger does not know: attached before this daemon was installed,
/// missing its file or, most often, already deleted. Tries its results, then its pod's networks in
/// the cluster, then the default network. Best effort: attachments that may never have existed
/// cannot fail the DEL. `planned` are attachments that its plan nevertheless has.
async fn unrecorded(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    planned: &[Entry],
) -> Result<(), Error> {
    let sandbox = request.sandbox();
    let container = &sandbox.container_id;
    if pipeline.undone.has(&dirs.cni, container, &request.if_name) {
        return Ok(());
    }
    let is_unplanned = |entry: &Entry| planned.iter().all(|one| one.if_name != entry.if_name);
    let mut results = pipeline.ports.ledger.results(&dirs.cni, &sandbox).await?;
    results.retain(is_unplanned);
    if !results.is_empty() && !reaches_all(request, &results) {
        return one_of(pipeline, dirs, request, &results).await;
    }
    if !results.is_empty() && !planned.is_empty() {
        for entry in results.iter().rev() {
            undo::unrecorded(pipeline, dirs, &sandbox, entry).await?;
        }
        return Ok(());
    }
    if !results.is_empty() {
        tracing::warn!(
            %container,
            pod = %sandbox.pod,
            "the container is not in the ledger; undoing its attachments in the result cache"
        );
        return undo::entries_of(pipeline, dirs, &sandbox, &results, Vec::new()).await;
    }
    let (mut entries, is_complete) = match of_cluster(pipeline, request).await {
        Described::Pod {
            entries,
            is_complete,
        } => (entries, is_complete),
        Described::Nothing => of_default_network(pipeline, request).await,
        Described::Unknown => (of_default_network(pipeline, request).await.0, false),
    };
    entries.retain(is_unplanned);
    let is_usual = is_usual(request);
    entries.retain(|entry| is_usual || entry.if_name == request.if_name);
    tracing::warn!(
        %container,
        pod = %sandbox.pod,
        networks = entries.len(),
        "the container is in neither ledger nor result cache; deleting it from the networks that its pod may use"
    );
    let left = undo::detach_each(pipeline, dirs, &sandbox, &entries).await;
    // If a network was unknown, the next DEL may find it.
    if left.is_empty() && is_complete {
        let undone = &pipeline.undone;
        match is_usual {
            true => undone.insert(&dirs.cni, container),
            false => undone.insert_one(&dirs.cni, container, &request.if_name),
        }
    }
    Ok(())
}
