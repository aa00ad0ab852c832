//! Undos that a DEL, a GC or a failed ADD left: tried again with growing pauses until nothing is
//! left. A DEL that succeeds and a new ADD of the container cancel them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni_types::args::{ContainerId, IfName};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::dirs::Dirs;
use super::{Pipeline, deferred, undo};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{PendingUndo, Undo};

/// The first pause; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Sandboxes that are tried at the same time: one whose delegate hangs holds up no other.
pub(super) const AT_ONCE: usize = 8;

/// The sandboxes that are to be tried again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<(PathBuf, ContainerId), Waiting>,
    /// Tells two entries about one container apart.
    numbers: u64,
}

#[derive(Debug, Clone)]
struct Waiting {
    undo: Undo,
    next: Instant,
    number: u64,
    is_running: bool,
}

/// One retry whose time has come.
#[derive(Debug)]
struct Due {
    dirs: Dirs,
    undo: Undo,
    number: u64,
}

impl Retries {
    /// Schedules a retry, and counts the attempt that failed. `pending` are the interfaces that are
    /// left with the reason of each; empty where everything that is recorded is to be undone. What is
    /// `staying` was not tried: where it is to be retried, it still is.
    pub(super) async fn keep(
        &self,
        pipeline: &Pipeline,
        dirs: &Dirs,
        container: &ContainerId,
        pending: &[(IfName, String)],
        staying: &[Entry],
        reason: String,
    ) {
        let earlier = self.get(&dirs.cni, container);
        let tried = pending.iter().map(|(if_name, reason)| {
            let before = earlier.as_ref().and_then(|undo| undo.of(if_name));
            PendingUndo {
                if_name: if_name.clone(),
                reason: reason.clone(),
                attempts: before.map_or(0, |one| one.attempts).saturating_add(1),
                since: before.map_or_else(seconds, |one| one.since),
            }
        });
        let attachments = tried.chain(of_staying(earlier.as_ref(), staying)).collect();
        let undo = Undo {
            container_id: container.clone(),
            reason,
            retries: earlier
                .as_ref()
                .map_or(0, |undo| undo.retries)
                .saturating_add(1),
            since: earlier.map_or_else(seconds, |undo| undo.since),
            bin_dirs: dirs.bin.to_vec(),
            attachments,
        };
        self.schedule(pipeline, dirs, undo).await;
    }

    /// Nothing of what was tried of a sandbox is left. What is `staying` was not tried: where it is to
    /// be retried, it still is, and nothing else of the sandbox.
    pub(super) async fn release(
        &self,
        pipeline: &Pipeline,
        dirs: &Dirs,
        container: &ContainerId,
        staying: &[Entry],
    ) {
        let earlier = self.get(&dirs.cni, container);
        let attachments: Vec<_> = of_staying(earlier.as_ref(), staying).collect();
        if let (Some(earlier), false) = (earlier, attachments.is_empty()) {
            let undo = Undo {
                attachments,
                ..earlier
            };
            return self.schedule(pipeline, dirs, undo).await;
        }
        self.cancel(dirs, container);
        if let Err(error) = pipeline.ledger.forget_undo(&dirs.cni, container).await {
            tracing::error!(
                %container,
                error = crate::report::chain(&error),
                "the record of an undo that has succeeded could not be removed"
            );
        }
    }

    async fn schedule(&self, pipeline: &Pipeline, dirs: &Dirs, undo: Undo) {
        if let Err(error) = pipeline.ledger.record_undo(&dirs.cni, &undo).await {
            tracing::error!(
                container = %undo.container_id,
                error = crate::report::chain(&error),
                "could not persist the pending undo; kept in memory"
            );
        }
        let next = Instant::now() + pause(undo.retries);
        self.put(&dirs.cni, undo, next);
    }

    /// Schedules one interface of a sandbox or, without one, everything that is recorded of it to be
    /// undone at once. Called where nothing can be awaited; nothing is written before the first
    /// attempt fails.
    pub(super) fn undo_soon(
        &self,
        dirs: &Dirs,
        container: &ContainerId,
        if_name: Option<&IfName>,
        reason: &str,
    ) {
        let earlier = self.get(&dirs.cni, container);
        let is_all = |undo: &Undo| undo.attachments.is_empty();
        let mut attachments = Vec::new();
        if let Some(if_name) = if_name
            && !earlier.as_ref().is_some_and(is_all)
        {
            attachments = earlier.map_or_else(Vec::new, |undo| undo.attachments);
            attachments.push(PendingUndo {
                if_name: if_name.clone(),
                reason: reason.to_owned(),
                attempts: 0,
                since: seconds(),
            });
        }
        let undo = Undo {
            container_id: container.clone(),
            reason: reason.to_owned(),
            retries: 0,
            since: seconds(),
            bin_dirs: dirs.bin.to_vec(),
            attachments,
        };
        self.put(&dirs.cni, undo, Instant::now());
    }

    fn put(&self, cni_dir: &Path, undo: Undo, next: Instant) {
        let mut state = self.lock();
        state.numbers += 1;
        let waiting = Waiting {
            number: state.numbers,
            undo,
            next,
            is_running: false,
        };
        let key = (cni_dir.to_owned(), waiting.undo.container_id.clone());
        state.waiting.insert(key, waiting);
        drop(state);
        self.changed.notify_one();
    }

    /// What is to be tried again of a sandbox.
    pub(super) fn get(&self, cni_dir: &Path, container: &ContainerId) -> Option<Undo> {
        let key = (cni_dir.to_owned(), container.clone());
        self.lock().waiting.get(&key).map(|one| one.undo.clone())
    }

    /// Whether a sandbox is to be tried again.
    pub(super) fn has(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        self.lock().waiting.contains_key(&key)
    }

    /// Whether a sandbox is being tried at this moment.
    pub(super) fn is_running(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        let state = self.lock();
        state.waiting.get(&key).is_some_and(|one| one.is_running)
    }

    /// How often undoing an interface has failed.
    pub(super) fn attempts(&self, dirs: &Dirs, container: &ContainerId, if_name: &IfName) -> u32 {
        let undo = self.get(&dirs.cni, container);
        undo.and_then(|undo| undo.of(if_name).map(|one| one.attempts))
            .unwrap_or_default()
    }

    /// Everything that is to be tried again in a directory.
    pub(super) fn list(&self, cni_dir: &Path) -> Vec<Undo> {
        let state = self.lock();
        let here = state.waiting.iter().filter(|((dir, _), _)| dir == cni_dir);
        here.map(|(_, waiting)| waiting.undo.clone()).collect()
    }

    /// The sandbox is undone, or attached anew.
    pub(super) fn cancel(&self, dirs: &Dirs, container: &ContainerId) {
        let key = (dirs.cni.to_path_buf(), container.clone());
        self.lock().waiting.remove(&key);
    }

    /// Whether nothing has changed since a retry was taken.
    fn is_current(&self, due: &Due) -> bool {
        let key = (due.dirs.cni.to_path_buf(), due.undo.container_id.clone());
        let state = self.lock();
        let waiting = state.waiting.get(&key);
        waiting.is_some_and(|waiting| waiting.number == due.number)
    }

    /// A retry ended without anything that put it back or took it away.
    fn ended(&self, due: &Due) {
        let key = (due.dirs.cni.to_path_buf(), due.undo.container_id.clone());
        let mut state = self.lock();
        let current = state.waiting.get(&key);
        if current.is_some_and(|waiting| waiting.number == due.number) {
            state.waiting.remove(&key);
        }
    }

    /// Takes a retry whose time has come, or gives the time of the next one.
    fn take(&self) -> Result<Due, Option<Instant>> {
        let mut state = self.lock();
        let resting = state.waiting.iter_mut().filter(|(_, one)| !one.is_running);
        let Some(((cni_dir, _), first)) = resting.min_by_key(|(_, one)| one.next) else {
            return Err(None);
        };
        if first.next > Instant::now() {
            return Err(Some(first.next));
        }
        first.is_running = true;
        Ok(Due {
            dirs: Dirs::new(cni_dir, &first.undo.bin_dirs),
            undo: first.undo.clone(),
            number: first.number,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of `staying` is to be retried.
fn of_staying(earlier: Option<&Undo>, staying: &[Entry]) -> impl Iterator<Item = PendingUndo> {
    staying
        .iter()
        .filter_map(move |entry| earlier?.share_of(&entry.if_name))
}

/// Schedules what an earlier daemon left in `cni_dir`.
pub(super) async fn resume(pipeline: &Pipeline, cni_dir: &Path) {
    match pipeline.ledger.undos(cni_dir).await {
        Ok(undos) => {
            for undo in undos {
                let next = Instant::now() + pause(undo.retries);
                pipeline.retries.put(cni_dir, undo, next);
            }
        }
        Err(error) => tracing::error!(
            dir = %cni_dir.display(),
            error = crate::report::chain(&error),
            "cannot read the pending undos of an earlier daemon"
        ),
    }
}

/// Retries as long as the daemon runs.
pub(super) async fn run(pipeline: &Arc<Pipeline>) {
    let retries = &pipeline.retries;
    let mut running = FuturesUnordered::new();
    loop {
        let next = match running.len() < AT_ONCE {
            true => match retries.take() {
                Ok(due) => {
                    running.push(again(pipeline, due));
                    continue;
                }
                Err(next) => next,
            },
            false => None,
        };
        tokio::select! {
            Some(()) = running.next(), if !running.is_empty() => {}
            () = sleep_until(next), if next.is_some() => {}
            () = retries.changed.notified() => {}
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn again(pipeline: &Arc<Pipeline>, due: Due) {
    let container = due.undo.container_id.clone();
    let dirs = &due.dirs;
    let _turn = pipeline.turns.take(&container).await;
    if !pipeline.retries.is_current(&due) {
        // A DEL or an ADD came first.
        return;
    }
    let sandbox = Sandbox::recorded(container.clone());
    let only: Vec<IfName> = due.undo.if_names().cloned().collect();
    let undone = match deferred::carry_out(pipeline, dirs, &container).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let only = Some(only.as_slice()).filter(|names| !names.is_empty());
            undo::recorded(pipeline, dirs, &sandbox, only).await
        }
        Err(error) => Err(error),
    };
    match undone {
        Ok(()) if !pipeline.retries.has(&dirs.cni, &container) => {
            tracing::info!(%container, attempts = due.undo.retries + 1, "undone");
        }
        // What is left was logged, and is back in the list.
        Ok(()) => {}
        Err(error) if pipeline.retries.is_current(&due) => {
            let undo = failed_again(&due.undo, &crate::report::chain(&error));
            pipeline.retries.schedule(pipeline, dirs, undo).await;
        }
        Err(_) => {}
    }
    pipeline.retries.ended(&due);
}

/// The same undo after one more attempt, which did not get as far as its delegates.
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

fn pause(retries: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(retries.saturating_sub(1).min(16)))
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
        assert_eq!(pause(1), Duration::from_secs(5));
        assert_eq!(pause(2), Duration::from_secs(10));
        assert_eq!(pause(100), LONGEST_PAUSE);
    }

    #[test]
    fn a_cancelled_retry_is_not_current() {
        let retries = Retries::default();
        let dirs = Dirs::new(Path::new("/l"), &[]);
        let container = ContainerId::new("c").unwrap();
        retries.undo_soon(&dirs, &container, None, "x");
        let due = retries.take().unwrap();
        assert!(retries.is_current(&due));
        assert!(retries.take().is_err(), "it runs already");
        retries.cancel(&dirs, &container);
        assert!(!retries.is_current(&due));
        retries.undo_soon(&dirs, &container, None, "x");
        assert!(!retries.is_current(&due), "of the next ADD");
        retries.ended(&due);
        assert!(retries.has(&dirs.cni, &container));
    }
}
