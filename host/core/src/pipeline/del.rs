//! DEL: detaches a pod from its networks. Does not need the cluster or a policy's consent;
//! continues past errors, and what could not be undone stays in the ledger. The cluster is
//! consulted only if neither ledger nor result cache knows the container.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument as _;

use super::deletion::{is_of_another, is_usual, planned, reaches_all, undo_all};
use super::dirs::Dirs;
use super::limits::{after, patiently, turn_by};
use super::pod_netns::is_there;
use super::turns::{Reach, Turn, Work};
use super::{Error, Pipeline, deferred, early_success};
use crate::domain::entry::Entry;
use crate::ports::Recorded;
use crate::spans::stage;
use crate::stages::request::PodRequest;
use crate::supervision;

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
        tokio::spawn(supervision::once("DEL", deletion));
        return succeed_early(&request);
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
    // This DEL replaces recorded ones.
    if let Ok(held) = tokio::time::timeout_at(soon, &mut turn).await {
        return Ok(Some(held.leaving_records()));
    }
    if early_success::can_be_given(pipeline, dirs, request).await {
        return succeed_early(request).map(|()| None);
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

/// Which of the container's requests a DEL cancels; `None` if it names another interface or
/// namespace than the container's own, so that there is nothing to wait for either.
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
    if is_of_another(pipeline, dirs, &recorded, request).await {
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

fn succeed_early(request: &PodRequest) -> Result<(), Error> {
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
    if is_of_another(pipeline, &dirs, &recorded, request).await {
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
    deferred::forget(pipeline, &dirs, container).await;
    Ok(())
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
