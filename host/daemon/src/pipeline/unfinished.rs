//! What a DEL, a GC or the undoing of an ADD left: tried again with growing pauses until nothing is
//! left. The runtime may come first with a DEL of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni_types::args::ContainerId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Error, Pipeline, deferred, del};
use crate::domain::sandbox::Sandbox;
use crate::ports::Undo;

/// The first pause; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The sandboxes that are to be tried again.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    waiting: Mutex<BTreeMap<(PathBuf, ContainerId), Waiting>>,
    changed: Notify,
}

#[derive(Debug, Clone)]
struct Waiting {
    undo: Undo,
    next: Instant,
}

impl Unfinished {
    /// Keeps a sandbox in mind that could not be undone.
    pub(super) async fn add(
        &self,
        pipeline: &Pipeline,
        cni_dir: &Path,
        bin_dirs: &[PathBuf],
        container: &ContainerId,
        error: &Error,
    ) {
        let earlier = self.get(cni_dir, container);
        let undo = Undo {
            container_id: container.clone(),
            reason: crate::report::chain(error),
            retries: earlier.as_ref().map_or(0, |waiting| waiting.undo.retries),
            since: earlier.map_or_else(seconds, |waiting| waiting.undo.since),
            bin_dirs: bin_dirs.to_vec(),
        };
        self.keep(pipeline, cni_dir, undo).await;
    }

    async fn keep(&self, pipeline: &Pipeline, cni_dir: &Path, undo: Undo) {
        if let Err(error) = pipeline.ledger.record_undo(cni_dir, &undo).await {
            tracing::error!(
                error = crate::report::chain(&error),
                "kept in mind in memory alone"
            );
        }
        let key = (cni_dir.to_owned(), undo.container_id.clone());
        let next = Instant::now() + pause(undo.retries);
        self.lock().insert(key, Waiting { undo, next });
        self.changed.notify_one();
    }

    fn get(&self, cni_dir: &Path, container: &ContainerId) -> Option<Waiting> {
        self.lock()
            .get(&(cni_dir.to_owned(), container.clone()))
            .cloned()
    }

    /// Whether a sandbox is to be tried again.
    pub(super) fn has(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        self.get(cni_dir, container).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(PathBuf, ContainerId), Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one whose turn is first.
    fn first(&self) -> Option<(PathBuf, Waiting)> {
        let waiting = self.lock();
        let first = waiting.iter().min_by_key(|(_, waiting)| waiting.next)?;
        Some((first.0.0.clone(), first.1.clone()))
    }

    fn remove(&self, cni_dir: &Path, container: &ContainerId) {
        self.lock().remove(&(cni_dir.to_owned(), container.clone()));
    }
}

/// Tries again, for ever.
pub(super) async fn run(pipeline: &Pipeline, cni_dir: &Path) {
    let unfinished = &pipeline.unfinished;
    match pipeline.ledger.undos(cni_dir).await {
        Ok(undos) => {
            for undo in undos {
                unfinished.keep(pipeline, cni_dir, undo).await;
            }
        }
        Err(error) => tracing::error!(
            error = crate::report::chain(&error),
            "what is to be undone is not known"
        ),
    }
    loop {
        match unfinished.first() {
            None => unfinished.changed.notified().await,
            Some((_, waiting)) if waiting.next > Instant::now() => {
                tokio::select! {
                    () = tokio::time::sleep_until(waiting.next) => {}
                    () = unfinished.changed.notified() => {}
                }
            }
            Some((cni_dir, waiting)) => again(pipeline, &cni_dir, waiting.undo).await,
        }
    }
}

async fn again(pipeline: &Pipeline, cni_dir: &Path, undo: Undo) {
    let container = undo.container_id.clone();
    let _turn = pipeline.turns.take(&container).await;
    let sandbox = Sandbox::recorded(container.clone());
    let undone = match deferred::carry_out(pipeline, cni_dir, &undo.bin_dirs, &container).await {
        Ok(false) => del::sandbox(pipeline, cni_dir, &undo.bin_dirs, &sandbox).await,
        Ok(true) => Ok(()),
        Err(error) => Err(error),
    };
    let undone = match undone {
        // Also where nothing was recorded any more: a daemon that was killed while it forgot the
        // sandbox left this behind.
        Ok(()) => pipeline
            .ledger
            .forget(cni_dir, &container)
            .await
            .map_err(Error::from),
        failed => failed,
    };
    match undone {
        Ok(()) => {
            pipeline.unfinished.remove(cni_dir, &container);
            tracing::info!(%container, retries = undo.retries + 1, "undone at last");
        }
        Err(error) => {
            let reason = crate::report::chain(&error);
            let undo = Undo {
                retries: undo.retries.saturating_add(1),
                reason,
                ..undo
            };
            pipeline.unfinished.keep(pipeline, cni_dir, undo).await;
        }
    }
}

fn pause(retries: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(retries.min(16)))
        .min(LONGEST_PAUSE)
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(pause(0), Duration::from_secs(5));
        assert_eq!(pause(1), Duration::from_secs(10));
        assert_eq!(pause(100), LONGEST_PAUSE);
    }
}
