//! DEL: detaches a pod from its networks. Does not need the cluster or a policy's consent;
//! continues past errors, and what could not be undone stays in the ledger. The cluster is
//! consulted only if neither ledger nor result cache knows the container.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::dirs::Dirs;
use super::limits::{after, patiently, turn_by};
use super::pod_netns::{self, is_there};
use super::turns::{Reach, Turn, Work};
use super::{Error, Pipeline, deferred, early_success, undo};
use crate::domain::entry::{self, Entry};
use crate::domain::sandbox::Sandbox;
use crate::ports::{ClusterError, LedgerError, Lost, Recorded};
use crate::spans::stage;
use crate::stages::request::PodRequest;
use crate::stages::{identity, known, resolve};

/// Detaches everything recorded for the container. A request for an interface other than the
/// default network's undoes nothing.
pub(super) async fn del(pipeline: &Arc<Pipeline>, request: PodRequest) -> Result<(), Error> {
    let patience = pipeline.timeouts.stop();
    let deadline = after(patience);
    let soon = after(pipeline.timeouts.background());
    let dirs = Dirs::of(&request.conf);
    let request = Arc::new(request);
    let turn = turn(pipeline, &dirs, &request, (soon, deadline));
    let turn = match stage("turn", turn).await? {
        Some(turn) => turn,
        None => return Ok(()),
    };
    let deletion = {
        let (pipeline, request) = (Arc::clone(pipeline), Arc::clone(&request));
        async move {
            let _turn = turn;
            stage("undo", delete(&pipeline, &request)).await
        }
    };
    let mut deletion = Box::pin(deletion.in_current_span());
    if let Ok(deleted) = tokio::time::timeout_at(soon, &mut deletion).await {
        return deleted;
    }
    if early_success::can_be_given(pipeline, &dirs, &request).await {
        tokio::spawn(deletion);
        return answered(&request);
    }
    match patiently(deadline, deletion).await {
        Some(deleted) => deleted,
        None => early_success::late(pipeline, &dirs, &request, Error::Continues(patience)).await,
    }
}

/// Takes the container's turn; `None` if the DEL is answered without it, because a running undo
/// holds the turn and a second undo must not run beside or after it.
async fn turn(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    (soon, deadline): (Instant, Instant),
) -> Result<Option<Turn>, Error> {
    let container = &request.container_id;
    let Some(reach) = reach(pipeline, dirs, request).await else {
        return Ok(None);
    };
    let mut turn = pin!(pipeline.turns.take_over(container, Work::Del, reach));
    let soon = match pipeline.retries.has(&dirs.cni, container) {
        true => Instant::now(),
        false => soon,
    };
    // The DEL takes the place of those that were recorded.
    if let Ok(held) = tokio::time::timeout_at(soon, &mut turn).await {
        return Ok(Some(held.leaving_records()));
    }
    if early_success::can_be_given(pipeline, dirs, request).await {
        return answered(request).map(|()| None);
    }
    let waited = pipeline.timeouts.stop();
    match turn_by(pipeline, deadline, waited, container, turn).await {
        Ok(held) => Ok(Some(held.leaving_records())),
        Err(error) => {
            let answer = early_success::late(pipeline, dirs, request, error).await;
            answer.map(|()| None)
        }
    }
}

/// Which of the container's requests a DEL cancels; `None` if it names another interface than the
/// container's own, so that there is nothing to wait for either.
async fn reach<'a>(pipeline: &Pipeline, dirs: &Dirs, request: &'a PodRequest) -> Option<Reach<'a>> {
    let reach = |is_whole| match is_whole {
        true => Reach::Whole,
        false => Reach::Interface(&request.if_name),
    };
    if !pipeline.turns.is_busy(&request.container_id) {
        return Some(reach(is_usual(request)));
    }
    let (ledger, sandbox) = (&pipeline.ports.ledger, request.sandbox());
    let recorded = ledger.find(&dirs.cni, &sandbox).await;
    if is_of_another(&recorded, request) {
        return None;
    }
    let known = match recorded {
        Ok(Recorded::Whole(_) | Recorded::Partial { .. }) => return Some(Reach::Whole),
        // Perhaps the container's ADD is running.
        Ok(Recorded::Nothing) => ledger.results(&dirs.cni, &sandbox).await,
        Err(error) => Err(error),
    };
    Some(reach(reaches_all(request, &known.unwrap_or_default())))
}

fn answered(request: &PodRequest) -> Result<(), Error> {
    tracing::warn!(
        container = %request.container_id,
        "DEL succeeds before its delegates finish: the namespace is gone, and the undo continues in the background"
    );
    Ok(())
}

async fn delete(pipeline: &Arc<Pipeline>, request: &PodRequest) -> Result<(), Error> {
    let dirs = Dirs::of(&request.conf);
    let container = &request.container_id;
    let recorded = pipeline
        .ports
        .ledger
        .find(&dirs.cni, &request.sandbox())
        .await;
    if is_of_another(&recorded, request) {
        return Ok(());
    }
    match recorded {
        Ok(Recorded::Whole(entries)) => {
            let (hanging, meant) = hanging(pipeline, &dirs, entries).await;
            planned(pipeline, &dirs, request, (meant, hanging)).await?;
        }
        recorded => undo_all(pipeline, &dirs, request, recorded).await?,
    }
    // Even if nothing was recorded: an ADD may have crashed before recording.
    pipeline.ports.policies.release(container).await;
    deferred::forget(pipeline, &dirs, container).await
}

/// Detaches `meant` of a whole plan. If all of it was hot-plugged, another daemon attached the pod,
/// and what that one made is undone as well, whatever becomes of the hot-plugged attachments.
async fn planned(
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
fn is_usual(request: &PodRequest) -> bool {
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

/// Whether a DEL names an interface other than the container's own, and so undoes nothing.
pub(super) fn is_of_another(
    recorded: &Result<Recorded, LedgerError>,
    request: &PodRequest,
) -> bool {
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

/// Splits off the entries whose namespace is gone and whose delegates timed out in the last
/// attempt: they are left to their retries.
async fn hanging(
    pipeline: &Pipeline,
    dirs: &Dirs,
    entries: Vec<Entry>,
) -> (Vec<Entry>, Vec<Entry>) {
    let (mut hanging, mut others) = (Vec::new(), Vec::new());
    for entry in entries {
        let retries = &pipeline.retries;
        let timed_out = retries.timed_out(dirs, &entry);
        match timed_out && !is_there(pipeline, dirs, &entry).await {
            true => hanging.push(entry),
            false => others.push(entry),
        }
    }
    (hanging, others)
}

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
                OfCluster::Nothing if is_gone(pipeline, dirs, &sandbox).await => {
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
        OfCluster::Described {
            entries,
            is_complete,
        } => (entries, is_complete),
        OfCluster::Nothing => of_default_network(pipeline, request).await,
        OfCluster::Unknown => (of_default_network(pipeline, request).await.0, false),
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

/// A pod's attachments according to the cluster.
enum OfCluster {
    /// What the pod requests now.
    Described {
        entries: Vec<Entry>,
        /// Whether `entries` covers every requested network.
        is_complete: bool,
    },
    /// The pod does not exist, or its name belongs to another pod now.
    Nothing,
    /// The cluster is temporarily unavailable.
    Unknown,
}

impl OfCluster {
    /// The known entries, complete or not.
    fn entries(self) -> Vec<Entry> {
        match self {
            Self::Described { entries, .. } => entries,
            Self::Nothing | Self::Unknown => Vec::new(),
        }
    }

    /// The entries if they are complete.
    fn all(self) -> Option<Vec<Entry>> {
        match self {
            Self::Described {
                entries,
                is_complete: true,
            } => Some(entries),
            _ => None,
        }
    }
}

/// The attachments that the container of a request may have, for a best-effort undo: those that
/// its pod requests now or, if the cluster knows none, the default network's.
pub(super) async fn likely(pipeline: &Pipeline, request: &PodRequest) -> Vec<Entry> {
    match of_cluster(pipeline, request).await {
        OfCluster::Described { entries, .. } if !entries.is_empty() => entries,
        _ => of_default_network(pipeline, request).await.0,
    }
}

/// The attachments that an ADD would make now, network by network.
async fn of_cluster(pipeline: &Pipeline, request: &PodRequest) -> OfCluster {
    let cluster = &*pipeline.ports.cluster;
    let container = &request.container_id;
    let described = identity::identify_described(request, cluster, Duration::ZERO).await;
    let (sandbox, pod) = match described {
        Ok(described) => described,
        Err(error) => {
            let error_text = crate::report::chain(&error);
            tracing::info!(%container, error = error_text, "cannot determine the networks of the container's pod; only the default network remains");
            return match error {
                ClusterError::PodNotFound(_) | ClusterError::UidMismatch { .. } => {
                    OfCluster::Nothing
                }
                _ => OfCluster::Unknown,
            };
        }
    };
    let known = known::known(&request.conf, &sandbox, &pod, pipeline.lookups()).await;
    tracing::debug!(%container, pod = %sandbox.pod, "undoing what the pod asks for now");
    let mut is_complete = known.is_complete;
    let mut entries = Vec::with_capacity(known.attachments.len());
    for attachment in &known.attachments {
        match Entry::new(attachment, &sandbox) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                let (network, error) = (&attachment.network, crate::report::chain(&error));
                tracing::warn!(%container, network, error, "cannot build the DEL of a network; skipping it until the next DEL");
                is_complete = false;
            }
        }
    }
    OfCluster::Described {
        entries,
        is_complete,
    }
}

/// The attachment to the default network, which every pod has, and whether that network is known.
async fn of_default_network(pipeline: &Pipeline, request: &PodRequest) -> (Vec<Entry>, bool) {
    let conf = &request.conf;
    let sandbox = request.sandbox();
    match resolve::default_attachment(conf, &sandbox, pipeline.lookups()).await {
        Ok(attachment) => {
            let entries: Vec<_> = Entry::new(&attachment, &sandbox).into_iter().collect();
            let is_known = !entries.is_empty();
            (entries, is_known)
        }
        Err(error) => {
            tracing::warn!(
                container = %sandbox.container_id,
                error = crate::report::chain(&error),
                "cannot resolve the default network; the container is not deleted from it"
            );
            (Vec::new(), false)
        }
    }
}
