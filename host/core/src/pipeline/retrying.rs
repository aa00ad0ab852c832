//! Retries pending undos while the daemon runs.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::retries::Due;
use super::{Error, Pipeline, deferred, undo};
use crate::domain::sandbox::Sandbox;
use crate::ports::{PendingUndo, Undo};

/// Schedules the undos that an earlier daemon left in `cni_dir`.
pub(super) async fn resume(pipeline: &Pipeline, cni_dir: &Path) {
    match pipeline.ledger.undos(cni_dir).await {
        Ok(undos) => {
            for undo in undos {
                pipeline.retries.resume(cni_dir, undo);
            }
        }
        Err(error) => tracing::error!(
            dir = %cni_dir.display(),
            error = crate::report::chain(&error),
            "cannot read the pending undos of an earlier daemon"
        ),
    }
}

/// Runs the retries until the daemon exits. Sandboxes are retried independently; attachments of one
/// network wait for its lanes.
pub(super) async fn run(pipeline: &Arc<Pipeline>) {
    let retries = &pipeline.retries;
    let mut running = FuturesUnordered::new();
    loop {
        let next = match retries.take() {
            Ok(due) => {
                running.push(again(pipeline, due));
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

async fn again(pipeline: &Arc<Pipeline>, mut due: Due) {
    let retries = &pipeline.retries;
    let container = due.undo.container_id.clone();
    // The request or background undo that holds the turn schedules its own leftovers.
    let Some(_turn) = pipeline.turns.try_take(&container) else {
        return retries.postpone(&due);
    };
    if !retries.is_current(&due) {
        // A DEL or an ADD came first.
        return;
    }
    let undone = attempt(pipeline, &mut due).await;
    match undone {
        Ok(()) if !retries.has(&due.dirs.cni, &container) => {
            tracing::info!(%container, attempts = due.undo.retries + 1, "undone");
        }
        // Leftovers were logged and rescheduled.
        Ok(()) => {}
        Err(error) if retries.is_current(&due) => {
            let undo = failed_again(&due.undo, &crate::report::chain(&error));
            retries.schedule(pipeline, &due.dirs, undo).await;
        }
        Err(_) => {}
    }
    retries.ended(&due);
}

async fn attempt(pipeline: &Arc<Pipeline>, due: &mut Due) -> Result<(), Error> {
    let (dirs, container) = (&due.dirs, &due.undo.container_id);
    if deferred::carry_out(pipeline, dirs, container).await? {
        return Ok(());
    }
    let sandbox = Sandbox::recorded(container.clone());
    if !due.undo.attachments.is_empty() {
        let lanes = std::mem::take(&mut due.lanes);
        return undo::of_lanes(pipeline, dirs, &sandbox, lanes).await;
    }
    match pipeline.ledger.load(&dirs.cni, &sandbox).await {
        Ok(Some(entries)) if !entries.is_empty() => {
            pipeline.retries.specify(due, &entries);
            Ok(())
        }
        _ => undo::recorded(pipeline, dirs, &sandbox).await,
    }
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
