//! Undos left by a DEL, a GC or a failed ADD, retried with exponential backoff until nothing is
//! left. A successful DEL or a new ADD of the container cancels them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni_types::args::{ContainerId, IfName};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Pipeline;
use super::dirs::Dirs;
use super::lanes::{Lane, Lanes};
use crate::domain::entry::Entry;
use crate::ports::{PendingUndo, Undo};

/// The initial backoff; each retry doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The sandboxes with pending undos.
#[derive(Debug, Default)]
pub(super) struct Retries {
    state: Mutex<Schedule>,
    lanes: Arc<Lanes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Schedule {
    waiting: BTreeMap<(PathBuf, ContainerId), Waiting>,
    /// Generates numbers that distinguish successive retries of one container.
    numbers: u64,
}

#[derive(Debug, Clone)]
struct Waiting {
    undo: Undo,
    next: Instant,
    number: u64,
    is_running: bool,
}

/// A retry that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) dirs: Dirs,
    pub(super) undo: Undo,
    /// The interfaces to retry now, each with its network's lane; empty while it is unknown what
    /// the sandbox has.
    pub(super) lanes: BTreeMap<IfName, Lane>,
    number: u64,
}

impl Retries {
    /// Schedules a retry and counts the failed attempt. `pending` are the interfaces left; empty if
    /// everything recorded is to be undone. `staying` were not attempted and keep their retries.
    pub(super) async fn keep(
        &self,
        pipeline: &Pipeline,
        dirs: &Dirs,
        container: &ContainerId,
        pending: Vec<PendingUndo>,
        staying: &[Entry],
        reason: String,
    ) {
        let earlier = self.get(&dirs.cni, container);
        let tried = pending.into_iter().map(|one| {
            let mut all = earlier.iter().flat_map(|undo| &undo.attachments);
            let before = all.find(|before| before.is_same(&one));
            PendingUndo {
                attempts: before.map_or(0, |one| one.attempts).saturating_add(1),
                since: before.map_or_else(seconds, |one| one.since),
                ..one
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

    /// Ends the retries of everything attempted in a sandbox, because nothing of it is left.
    /// `staying` were not attempted and keep their retries.
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
            self.schedule(pipeline, dirs, undo).await;
            return;
        }
        self.cancel(dirs, container);
        if let Err(error) = pipeline
            .ports
            .ledger
            .forget_undo(&dirs.cni, container)
            .await
        {
            tracing::error!(
                %container,
                error = crate::report::chain(&error),
                "could not remove the record of a finished undo; the next daemon repeats it"
            );
        }
    }

    /// Records that `entries`, or everything recorded if there are none, will be undone, however the
    /// delegates that run now fare; returns `false` if it could not be recorded.
    pub(super) async fn ensure_undo(
        &self,
        pipeline: &Pipeline,
        dirs: &Dirs,
        container: &ContainerId,
        entries: &[Entry],
    ) -> bool {
        let earlier = self.get(&dirs.cni, container);
        let is_ensured = |undo: &Undo| {
            let is_pending = |entry: &Entry| undo.of(entry).is_some();
            undo.attachments.is_empty() || (!entries.is_empty() && entries.iter().all(is_pending))
        };
        if earlier.as_ref().is_some_and(is_ensured) {
            return true;
        }
        let reason = "its delegates had not finished when the request was answered";
        let attachments = entries.iter().map(|entry| {
            let before = earlier.as_ref().and_then(|undo| undo.of(entry));
            before
                .cloned()
                .unwrap_or_else(|| pending(entry, reason.to_owned()))
        });
        let attachments = attachments.collect();
        let undo = match earlier {
            Some(earlier) => Undo {
                attachments,
                ..earlier
            },
            None => undo_of(dirs, container, reason, attachments),
        };
        self.schedule(pipeline, dirs, undo).await
    }

    /// Schedules an undo; returns whether it was also persisted.
    pub(super) async fn schedule(&self, pipeline: &Pipeline, dirs: &Dirs, undo: Undo) -> bool {
        let recorded = pipeline.ports.ledger.record_undo(&dirs.cni, &undo).await;
        if let Err(error) = &recorded {
            tracing::error!(
                container = %undo.container_id,
                error = crate::report::chain(error),
                "could not persist the pending undo; it is kept in memory and lost at a restart"
            );
        }
        self.resume(&dirs.cni, undo);
        recorded.is_ok()
    }

    /// Schedules a persisted undo.
    pub(super) fn resume(&self, cni_dir: &Path, undo: Undo) {
        let next = Instant::now() + pause(undo.retries);
        self.put(cni_dir, undo, next);
    }

    /// Schedules an immediate undo of these attachments. For synchronous callers: nothing is
    /// persisted before the first attempt fails.
    pub(super) fn undo_soon(
        &self,
        dirs: &Dirs,
        container: &ContainerId,
        pending: Vec<PendingUndo>,
    ) {
        let Some(first) = pending.first() else {
            return;
        };
        let reason = first.reason.clone();
        let earlier = self.get(&dirs.cni, container);
        let is_all = |undo: &Undo| undo.attachments.is_empty();
        let mut attachments = Vec::new();
        if !earlier.as_ref().is_some_and(is_all) {
            attachments = earlier.map_or_else(Vec::new, |undo| undo.attachments);
            attachments.retain(|one| pending.iter().all(|new| new.if_name != one.if_name));
            attachments.extend(pending);
        }
        let undo = undo_of(dirs, container, &reason, attachments);
        self.put(&dirs.cni, undo, Instant::now());
    }

    /// Replaces "undo everything" by the sandbox's individual attachments, so that each waits only
    /// for its own network.
    pub(super) fn specify(&self, due: &Due, entries: &[Entry]) {
        let attachments = entries.iter().map(|entry| PendingUndo {
            attempts: due.undo.retries,
            since: due.undo.since,
            ..pending(entry, due.undo.reason.clone())
        });
        let undo = Undo {
            attachments: attachments.collect(),
            ..due.undo.clone()
        };
        self.put(&due.dirs.cni, undo, Instant::now());
    }

    /// Postpones a retry, because a request or another undo holds the container's turn.
    pub(super) fn postpone(&self, due: &Due) {
        if self.is_current(due) {
            let next = Instant::now() + FIRST_PAUSE;
            self.put(&due.dirs.cni, due.undo.clone(), next);
        }
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

    /// The pending undo of a sandbox.
    pub(super) fn get(&self, cni_dir: &Path, container: &ContainerId) -> Option<Undo> {
        let key = (cni_dir.to_owned(), container.clone());
        self.lock().waiting.get(&key).map(|one| one.undo.clone())
    }

    /// Whether a sandbox has a pending undo.
    pub(super) fn has(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        self.lock().waiting.contains_key(&key)
    }

    /// Whether a sandbox is best left to its retries: one is running, or a delegate timed out in
    /// the last attempt.
    pub(super) fn is_hanging(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        let state = self.lock();
        state.waiting.get(&key).is_some_and(|one| {
            let mut attachments = one.undo.attachments.iter();
            one.is_running || attachments.any(|one| one.timed_out)
        })
    }

    /// Whether a retry of a sandbox is running.
    pub(super) fn is_running(&self, cni_dir: &Path, container: &ContainerId) -> bool {
        let key = (cni_dir.to_owned(), container.clone());
        let state = self.lock();
        state.waiting.get(&key).is_some_and(|one| one.is_running)
    }

    /// No retry is running, whatever was taken before.
    pub(super) fn stopped(&self) {
        for waiting in self.lock().waiting.values_mut() {
            waiting.is_running = false;
        }
    }

    /// Whether the delegate of an attachment timed out in the last undo attempt.
    pub(super) fn timed_out(&self, dirs: &Dirs, entry: &Entry) -> bool {
        let undo = self.get(&dirs.cni, &entry.container_id);
        undo.is_some_and(|undo| undo.of(entry).is_some_and(|one| one.timed_out))
    }

    /// How many undo attempts of an attachment have failed.
    pub(super) fn attempts(&self, dirs: &Dirs, entry: &Entry) -> u32 {
        let undo = self.get(&dirs.cni, &entry.container_id);
        undo.and_then(|undo| undo.of(entry).map(|one| one.attempts))
            .unwrap_or_default()
    }

    /// Drops the pending undos of these interfaces, in memory and on disk: the attachments that
    /// they were about no longer exist.
    pub(super) async fn forsake(
        &self,
        pipeline: &Pipeline,
        dirs: &Dirs,
        container: &ContainerId,
        if_names: &[IfName],
    ) {
        let Some(mut undo) = self.get(&dirs.cni, container) else {
            return;
        };
        let count = undo.attachments.len();
        if count == 0 {
            return;
        }
        undo.attachments
            .retain(|one| !if_names.contains(&one.if_name));
        if undo.attachments.is_empty() {
            self.release(pipeline, dirs, container, &[]).await;
        } else if undo.attachments.len() < count {
            self.schedule(pipeline, dirs, undo).await;
        }
    }

    /// All pending undos of a directory.
    pub(super) fn list(&self, cni_dir: &Path) -> Vec<Undo> {
        let state = self.lock();
        let here = state.waiting.iter().filter(|((dir, _), _)| dir == cni_dir);
        here.map(|(_, waiting)| waiting.undo.clone()).collect()
    }

    /// Cancels the retries of a sandbox that was undone or attached again.
    pub(super) fn cancel(&self, dirs: &Dirs, container: &ContainerId) {
        let key = (dirs.cni.to_path_buf(), container.clone());
        self.lock().waiting.remove(&key);
    }

    /// Whether a retry has not been replaced or cancelled since it was taken.
    pub(super) fn is_current(&self, due: &Due) -> bool {
        let key = (due.dirs.cni.to_path_buf(), due.undo.container_id.clone());
        let state = self.lock();
        let waiting = state.waiting.get(&key);
        waiting.is_some_and(|waiting| waiting.number == due.number)
    }

    /// Drops a retry that ended without being rescheduled or cancelled.
    pub(super) fn ended(&self, due: &Due) {
        let key = (due.dirs.cni.to_path_buf(), due.undo.container_id.clone());
        let mut state = self.lock();
        let current = state.waiting.get(&key);
        if current.is_some_and(|waiting| waiting.number == due.number) {
            state.waiting.remove(&key);
        }
    }

    /// Takes a due retry with a free lane for at least one of its networks, or returns the time of
    /// the next one.
    pub(super) fn take(&self) -> Result<Due, Option<Instant>> {
        let lanes = &self.lanes;
        let mut state = self.lock();
        let ready = state.waiting.iter_mut().filter(|(_, one)| {
            let attachments = &one.undo.attachments;
            let mut networks = attachments.iter().map(|one| one.network.as_str());
            let is_free = attachments.is_empty() || networks.any(|name| lanes.is_free(name));
            !one.is_running && is_free
        });
        let Some(((cni_dir, _), first)) = ready.min_by_key(|(_, one)| one.next) else {
            return Err(None);
        };
        if first.next > Instant::now() {
            return Err(Some(first.next));
        }
        first.is_running = true;
        let attachments = first.undo.attachments.iter();
        let now =
            attachments.filter_map(|one| Some((one.if_name.clone(), lanes.take(&one.network)?)));
        Ok(Due {
            dirs: Dirs::new(cni_dir, &first.undo.bin_dirs),
            undo: first.undo.clone(),
            lanes: now.collect(),
            number: first.number,
        })
    }

    /// Waits until a retry may be available.
    pub(super) async fn changed(&self) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = self.lanes.freed() => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.state.lock()
    }
}

/// Pending undos without any attempt yet.
pub(super) fn all_pending(entries: &[Entry], reason: &str) -> Vec<PendingUndo> {
    let all = entries.iter();
    all.map(|entry| pending(entry, reason.to_owned())).collect()
}

/// A pending undo without any attempt yet.
pub(super) fn pending(entry: &Entry, reason: String) -> PendingUndo {
    PendingUndo {
        if_name: entry.if_name.clone(),
        network: entry.network.clone(),
        namespace: entry.namespace.clone(),
        timed_out: false,
        reason,
        attempts: 0,
        since: seconds(),
    }
}

fn undo_of(
    dirs: &Dirs,
    container: &ContainerId,
    reason: &str,
    attachments: Vec<PendingUndo>,
) -> Undo {
    Undo {
        container_id: container.clone(),
        reason: reason.to_owned(),
        retries: 0,
        since: seconds(),
        bin_dirs: dirs.bin.to_vec(),
        attachments,
    }
}

/// The pending undos among `staying`.
fn of_staying(earlier: Option<&Undo>, staying: &[Entry]) -> impl Iterator<Item = PendingUndo> {
    staying
        .iter()
        .filter_map(move |entry| earlier?.share_of(entry))
}

fn pause(retries: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(retries.saturating_sub(1).min(16)))
        .min(LONGEST_PAUSE)
}

/// The time in seconds since 1970, as operators are shown it.
#[expect(
    clippy::disallowed_methods,
    reason = "since when an attachment exists or an undo waits, as it is shown"
)]
pub(super) fn seconds() -> u64 {
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
        let undo = || undo_of(&dirs, &container, "x", Vec::new());
        retries.put(&dirs.cni, undo(), Instant::now());
        let due = retries.take().unwrap();
        assert!(retries.is_current(&due));
        assert!(retries.take().is_err(), "it runs already");
        retries.cancel(&dirs, &container);
        assert!(!retries.is_current(&due));
        retries.put(&dirs.cni, undo(), Instant::now());
        assert!(!retries.is_current(&due), "of the next ADD");
        retries.ended(&due);
        assert!(retries.has(&dirs.cni, &container));
    }
}
