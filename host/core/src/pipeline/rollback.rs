//! Undoes an ADD that failed, panicked or was dropped.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cni_types::args::ContainerId;

use super::dirs::Dirs;
use super::limits::{Limits, within};
use super::turns::Turn;
use super::{Error, Pipeline, retries};
use crate::domain::entry::Entry;
use crate::ports::PendingUndo;

/// Schedules the undo of an ADD that panics or is dropped after it was recorded.
pub(super) struct Guard {
    pipeline: Arc<Pipeline>,
    dirs: Dirs,
    container: ContainerId,
    pending: Vec<PendingUndo>,
    is_armed: AtomicBool,
}

impl Guard {
    /// Guards the ADD of these attachments.
    pub(super) fn new(
        pipeline: &Arc<Pipeline>,
        dirs: &Dirs,
        container: &ContainerId,
        entries: &[Entry],
    ) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            dirs: dirs.clone(),
            container: container.clone(),
            pending: retries::all_pending(entries, "the ADD ended before its time"),
            is_armed: AtomicBool::new(true),
        }
    }

    /// Disarms the guard: the ADD has ended, and its leftovers are known.
    pub(super) fn disarm(&self) {
        self.is_armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_armed.load(Ordering::Relaxed) {
            let pending = std::mem::take(&mut self.pending);
            let retries = &self.pipeline.retries;
            retries.undo_soon(&self.dirs, &self.container, pending);
        }
    }
}

/// Runs the `undo` of an ADD that failed with `cause`, and returns the ADD's error. A slow undo
/// continues in the background, holding the container's turn.
pub(super) async fn roll_back(
    cause: Error,
    limits: &Limits,
    (guard, turn): (Guard, Turn),
    undo: impl Future<Output = Result<(), Error>> + Send + 'static,
) -> Error {
    let undo = async move {
        let undone = undo.await;
        guard.disarm();
        drop(turn);
        undone
    };
    let late = Error::Continues(limits.patience());
    match within(limits.undo_deadline(), late, undo).await {
        Ok(()) => cause,
        Err(left) => Error::NotUndone {
            cause: Box::new(cause),
            left: vec![left],
        },
    }
}
