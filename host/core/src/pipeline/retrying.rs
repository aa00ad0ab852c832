//! Retries pending undos while the daemon runs.

use std::path::Path;
use std::sync::Arc;

use cni_types::args::IfName;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::retries::Due;
use super::turns::Work;
use super::{Error, Pipeline, deferred, pod_netns, undo, undone};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{PendingUndo, Undo};
use crate::supervision;

/// Schedules the undos that an earlier daemon left in `cni_dir`, and reads which containers operators
/// had it forget.
pub(super) async fn resume(pipeline: &Pipeline, cni_dir: &Path) {
    undone::recall(pipeline, cni_dir).await;
    match pipeline.ports.ledger.undos(cni_dir).await {
        Ok(undos) => {
            for undo in undos {
                pipeline.retries.resume(cni_dir, undo);
            }
        }
        Err(error) => tracing::error!(
            dir = %cni_dir.display(),
            error = crate::report::chain(&error),
            "cannot read the pending undos of an earlier daemon; each waits for a request for its container"
        ),
    }
}

/// Runs the retries until the daemon exits. Sandboxes are retried independently; attachments of one
/// network wait for its lanes.
pub(super) async fn run(pipeline: &Arc<Pipeline>) {
    let retries = &pipeline.retries;
    // If this task panicked before, its retries ended with it.
    retries.stopped();
    let mut running = FuturesUnordered::new();
    loop {
        let next = match retries.take() {
            Ok(due) => {
                running.push(guarded(pipeline, due));
                continue;
            }
            Err(next) => next,
        };
        tokio::select! {
            Some(()) = running.next(), if !running.is_empty() => {}
            () = sleep_until(next), if next.is_some() => {}
            () = retries.changed() => {}
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Makes one retry. A panic fails this retry alone.
async fn guarded(pipeline: &Arc<Pipeline>, due: Due) {
    let (dirs, undo) = (due.dirs.clone(), due.undo.clone());
    let ended = supervision::once("retry of an undo", again(pipeline, due)).await;
    let retries = &pipeline.retries;
    if ended.is_none() && retries.is_running(&dirs.cni, &undo.container_id) {
        let undo = failed_again(&undo, "the retry panicked; the log has the details");
        retries.schedule(pipeline, &dirs, undo).await;
    }
}

/// The outcome of a retry that did not fail.
enum Attempt {
    /// It reached its delegates, or was split by attachment.
    Made,
    /// Its attachments are gone already.
    Dropped,
}

async fn again(pipeline: &Arc<Pipeline>, mut due: Due) {
    let retries = &pipeline.retries;
    let container = due.undo.container_id.clone();
    // The request or background undo that holds the turn schedules its own leftovers.
    let Some(held) = pipeline.turns.try_take(&container, Work::Undo) else {
        return retries.postpone(&due);
    };
    if !retries.is_current(&due) {
        // A DEL or an ADD came first.
        return;
    }
    let (_turn, settled) = deferred::settle(pipeline, &due.dirs, &container, held).await;
    let undone = match settled {
        Ok(false) => attempt(pipeline, &mut due).await,
        settled => settled.map(|_| Attempt::Made),
    };
    match undone {
        Ok(Attempt::Made) if !retries.has(&due.dirs.cni, &container) => {
            tracing::info!(%container, attempts = due.undo.retries + 1, "a retried undo succeeded");
        }
        // Leftovers were logged and rescheduled.
        Ok(Attempt::Made) => {}
        Ok(Attempt::Dropped) => tracing::info!(
            %container,
            "dropped a pending undo: its interfaces belong to later attachments"
        ),
        Err(error) if retries.is_current(&due) => {
            let undo = failed_again(&due.undo, &crate::report::chain(&error));
            retries.schedule(pipeline, &due.dirs, undo).await;
        }
        Err(_) => {}
    }
    retries.ended(&due);
}

async fn attempt(pipeline: &Arc<Pipeline>, due: &mut Due) -> Result<Attempt, Error> {
    let (dirs, container) = (due.dirs.clone(), due.undo.container_id.clone());
    let sandbox = Sandbox::recorded(container.clone());
    let recorded = match pipeline.ports.ledger.load(&dirs.cni, &sandbox).await {
        Ok(None) => pipeline
            .ports
            .ledger
            .results(&dirs.cni, &sandbox)
            .await
            .ok(),
        Ok(recorded) => recorded,
        Err(_) => None,
    };
    let entries = recorded.unwrap_or_default();
    let retries = &pipeline.retries;
    if due.undo.attachments.is_empty() {
        if entries.is_empty() {
            undo::recorded(pipeline, &dirs, &sandbox).await?;
            return Ok(Attempt::Made);
        }
        // Without an identity, this undo cannot tell what was to be undone from what a later ADD
        // made. A DEL whose namespace exists has failed, so that the runtime repeats it.
        let mut meant = Vec::new();
        for entry in entries {
            if entry.namespace.is_none() || !pod_netns::is_there(pipeline, &dirs, &entry).await {
                meant.push(entry);
            }
        }
        if meant.is_empty() {
            retries.release(pipeline, &dirs, &container, &[]).await;
            return Ok(Attempt::Dropped);
        }
        retries.specify(due, &meant);
        return Ok(Attempt::Made);
    }
    let others = of_others(pipeline, due, &entries).await;
    if !others.is_empty() {
        retries.forsake(pipeline, &dirs, &container, &others).await;
        due.lanes.retain(|if_name, _| !others.contains(if_name));
    }
    if due.lanes.is_empty() {
        return Ok(Attempt::Dropped);
    }
    let lanes = std::mem::take(&mut due.lanes);
    undo::of_lanes(pipeline, &dirs, &sandbox, lanes).await?;
    Ok(Attempt::Made)
}

/// The interfaces of an undo that belong to another attachment by now: the container id was added
/// again, or the interface was plugged again.
async fn of_others(pipeline: &Pipeline, due: &Due, entries: &[Entry]) -> Vec<IfName> {
    let mut others = Vec::new();
    for one in &due.undo.attachments {
        let Some(entry) = entries.iter().find(|entry| entry.if_name == one.if_name) else {
            continue;
        };
        let is_other = !one.is_of(entry)
            || (one.is_vague_about(entry) && pod_netns::is_there(pipeline, &due.dirs, entry).await);
        if is_other {
            others.push(one.if_name.clone());
        }
    }
    others
}

/// The same undo after a failed attempt that did not reach its delegates.
fn failed_again(undo: &Undo, reason: &str) -> Undo {
    let attachments = undo.attachments.iter().map(|one| PendingUndo {
        reason: reason.to_owned(),
        attempts: one.attempts.saturating_add(1),
        ..one.clone()
    });
    Undo {
        reason: reason.to_owned(),
        retries: undo.retries.saturating_add(1),
        attachments: attachments.collect(),
        ..undo.clone()
    }
}
