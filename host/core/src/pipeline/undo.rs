//! Undoes attachments, for DEL, GC, failed ADDs and retries. An attachment that cannot be undone
//! stays in the ledger, without the sandbox's others, and is retried.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cni_types::args::{Command, ContainerId, IfName};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::dirs::Dirs;
use super::lanes::Lane;
use super::pod_netns::{self, PodNetns};
use super::{Error, Pipeline, giving_up, retries};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{DelegateError, Event, EventKind, LedgerError, Lost, PendingUndo, Recorded};
use crate::spans::{attachment, step};

/// How long one attachment's DEL may take before the sandbox's next one starts beside it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A plugin that keeps refusing is believed after this many attempts, if the namespace is gone and
/// it is unknown whether the plugin's ADD made anything.
const DOUBTFUL_ATTEMPTS: u32 = 10;

/// An attachment that could not be undone.
#[derive(Debug)]
pub(super) struct Left {
    entry: Entry,
    error: Error,
    /// Whether the DEL must fail, because the namespace still exists or for another reason.
    holds: bool,
    /// Whether a plugin's refusal is the only sign that anything exists.
    doubtful: bool,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Left {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl Left {
    /// Forgets it, although parts of it may remain on the node.
    pub(super) fn give_up(&self, pipeline: &Pipeline) {
        giving_up::give_up(pipeline, &self.entry, &crate::report::chain(&self.error));
    }

    /// The same for an attachment whose plan is being removed: its result must not outlive it.
    pub(super) async fn discard(&self, pipeline: &Pipeline, dirs: &Dirs) {
        let reason = crate::report::chain(&self.error);
        giving_up::discard(pipeline, dirs, &self.entry, &reason).await;
    }

    fn pending(&self) -> PendingUndo {
        let timed_out = matches!(&self.error, Error::Delegate(error) if error.timed_out);
        PendingUndo {
            timed_out,
            ..retries::pending(&self.entry, crate::report::chain(&self.error))
        }
    }
}

/// Detaches everything recorded for a sandbox. The caller holds the sandbox's turn.
///
/// # Errors
/// The failures that a DEL must report. Leftovers that need only a retry are not errors.
pub(super) async fn recorded(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
) -> Result<(), Error> {
    let recorded = match pipeline.ports.ledger.find(&dirs.cni, sandbox).await {
        // A sandbox known only from the result cache is attached as well.
        Ok(Recorded::Nothing) => {
            let results = pipeline.ports.ledger.results(&dirs.cni, sandbox).await;
            results.map(|results| match results.is_empty() {
                true => Recorded::Nothing,
                false => Recorded::Whole(results),
            })
        }
        recorded => recorded,
    };
    match recorded {
        Ok(Recorded::Whole(entries)) => {
            entries_of(pipeline, dirs, sandbox, &entries, Vec::new()).await
        }
        Ok(Recorded::Nothing) => forget(pipeline, dirs, &sandbox.container_id, Extent::Whole).await,
        Ok(Recorded::Partial { known, lost }) => {
            known_of_lost(pipeline, dirs, sandbox, &known, lost).await
        }
        Err(error) => keep_error(pipeline, dirs, sandbox, error.into()).await,
    }
}

/// Detaches those interfaces of a sandbox that have a lane in `lanes`; releases each lane as soon
/// as its interface is detached. The caller holds the sandbox's turn.
///
/// # Errors
/// As [`recorded`], and if the ledger cannot be read: other interfaces may be in use.
pub(super) async fn of_lanes(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
    lanes: BTreeMap<IfName, Lane>,
) -> Result<(), Error> {
    let container = &sandbox.container_id;
    let entries = match pipeline.ports.ledger.load(&dirs.cni, sandbox).await? {
        Some(entries) => entries,
        // A GC may know the sandbox from its results only.
        None => pipeline.ports.ledger.results(&dirs.cni, sandbox).await?,
    };
    if entries.is_empty() {
        return forget(pipeline, dirs, container, Extent::Whole).await;
    }
    let is_meant = |entry: &Entry| lanes.contains_key(&entry.if_name);
    let (meant, staying): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_meant);
    let left = detach_within(pipeline, dirs, sandbox, &meant, lanes).await;
    settle(pipeline, dirs, container, (&meant, staying), left).await
}

/// Schedules a retry of a whole sandbox whose attachments are not all known.
///
/// # Errors
/// Returns `error` while the sandbox's namespace exists.
pub(super) async fn keep_error(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
    error: Error,
) -> Result<(), Error> {
    let container = &sandbox.container_id;
    let reason = crate::report::chain(&error);
    tracing::error!(
        %container,
        error = reason,
        "the container's attachments cannot all be determined; they stay in the ledger, and the daemon retries"
    );
    let retries = &pipeline.retries;
    retries
        .keep(pipeline, dirs, container, Vec::new(), &[], reason)
        .await;
    match pod_netns::at(pipeline, dirs, container, sandbox.netns.as_deref(), None).await {
        PodNetns::Present => Err(error),
        PodNetns::Gone | PodNetns::Replaced => Ok(()),
    }
}

/// Detaches `entries` of a sandbox; records `staying` and what could not be detached as its plan.
///
/// # Errors
/// As [`recorded`].
pub(super) async fn entries_of(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
    entries: &[Entry],
    staying: Vec<Entry>,
) -> Result<(), Error> {
    let left = detach_each(pipeline, dirs, sandbox, entries).await;
    let container = &sandbox.container_id;
    settle(pipeline, dirs, container, (entries, staying), left).await
}

/// Detaches an attachment that is in no plan, without recording anything.
///
/// # Errors
/// As [`recorded`].
pub(super) async fn unrecorded(
    pipeline: &Pipeline,
    dirs: &Dirs,
    sandbox: &Sandbox,
    entry: &Entry,
) -> Result<(), Error> {
    let left = detach_each(pipeline, dirs, sandbox, std::slice::from_ref(entry)).await;
    let held = left.into_iter().find(|one| one.holds);
    held.map_or(Ok(()), |one| Err(one.error))
}

/// Detaches the known attachments of a sandbox that also has lost ones, which remain an error.
pub(super) async fn known_of_lost(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
    known: &[Entry],
    lost: Vec<Lost>,
) -> Result<(), Error> {
    let left = detach_each(pipeline, dirs, sandbox, known).await;
    let mut errors: Vec<Error> = left.into_iter().map(|one| one.error).collect();
    errors.push(LedgerError::Lost(lost).into());
    match Error::of_all(errors) {
        Some(error) => keep_error(pipeline, dirs, sandbox, error).await,
        None => Ok(()),
    }
}

/// Detaches `entries` in reverse order and continues past errors; a slow one does not block the
/// others. Policies run afterwards, so that they delay nothing.
pub(super) async fn detach_each(
    pipeline: &Pipeline,
    dirs: &Dirs,
    sandbox: &Sandbox,
    entries: &[Entry],
) -> Vec<Left> {
    detach_within(pipeline, dirs, sandbox, entries, BTreeMap::new()).await
}

async fn detach_within(
    pipeline: &Pipeline,
    dirs: &Dirs,
    sandbox: &Sandbox,
    entries: &[Entry],
    mut lanes: BTreeMap<IfName, Lane>,
) -> Vec<Left> {
    let sandbox = sandbox.clone().with_pod_of(entries);
    let mut running = FuturesUnordered::new();
    let mut left = Vec::new();
    for (position, entry) in entries.iter().enumerate().rev() {
        let lane = lanes.remove(&entry.if_name);
        running.push(Box::pin(async move {
            let subject = (entry.network.as_str(), entry.if_name.as_str());
            let detached = attachment("detach", subject, detach(pipeline, dirs, entry)).await;
            drop(lane);
            (position, detached)
        }));
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                Some((ended, detached)) = running.next() => {
                    left.extend(detached.err());
                    if ended == position {
                        break;
                    }
                }
                () = &mut patience => break,
            }
        }
    }
    while let Some((_, detached)) = running.next().await {
        left.extend(detached.err());
    }
    let mut policies = pipeline.ports.policies.begin(Command::Del, &sandbox, None);
    for entry in entries.iter().rev() {
        step("del", policies.del(entry)).await;
        // Showing a conf to policies takes a while; other requests go on between two.
        tokio::task::yield_now().await;
    }
    left
}

/// Undoes one attachment and removes its result.
async fn detach(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> Result<(), Left> {
    let entry = &*pod_netns::located(pipeline, dirs, entry).await;
    let netns = pod_netns::of_entry(pipeline, dirs, entry).await;
    let located = match netns {
        // Delegates must not enter the namespace that is now at this path.
        PodNetns::Replaced => Cow::Owned(Entry {
            netns: Some(String::new()),
            ..entry.clone()
        }),
        PodNetns::Present | PodNetns::Gone => Cow::Borrowed(entry),
    };
    let left = |error: Error, holds, doubtful| {
        tracing::error!(
            container = %entry.container_id,
            pod = %entry.pod,
            network = entry.network,
            interface = %entry.if_name,
            error = crate::report::chain(&error),
            "an attachment could not be undone; it stays in the ledger, and the daemon retries"
        );
        let entry = entry.clone();
        Left {
            entry,
            error,
            holds,
            doubtful,
        }
    };
    let is_present = matches!(netns, PodNetns::Present);
    if !is_present && lives_elsewhere(pipeline, dirs, entry).await {
        tracing::warn!(
            container = %entry.container_id,
            network = entry.network,
            interface = %entry.if_name,
            dir = %dirs.cni.display(),
            "forgot an attachment without undoing it: the container was attached anew through another cniDir"
        );
        let forgotten = pipeline.ports.ledger.forget_result(&dirs.cni, entry).await;
        return forgotten.map_err(|error| left(error.into(), false, false));
    }
    match pipeline.ports.delegates.del(&dirs.bin, &located).await {
        Ok(refusals) => {
            for refusal in refusals {
                announce_refusal(pipeline, entry, &refusal);
            }
        }
        Err(error) => {
            let failed_at = error.failed_at.as_ref();
            let is_answer = failed_at.is_some_and(|failed| failed.refused);
            let doubtful = entry.is_doubtful() && is_answer;
            let holds = matches!(netns, PodNetns::Present) && !doubtful;
            return Err(left(error.into(), holds, doubtful));
        }
    }
    // The attachment is undone: a record that cannot be removed does not hold the pod.
    let forgotten = pipeline.ports.ledger.forget_result(&dirs.cni, entry).await;
    forgotten.map_err(|error| left(error.into(), false, false))
}

/// Whether another directory has the same container, interface and network in a namespace that
/// exists. Delegates know an attachment by these, and a DEL would release that one's addresses.
async fn lives_elsewhere(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    let sandbox = Sandbox::recorded(entry.container_id.clone());
    for other in pipeline.directories.besides(dirs) {
        let Ok(Some(entries)) = pipeline.ports.ledger.load(&other.cni, &sandbox).await else {
            continue;
        };
        let is_same =
            |one: &&Entry| one.if_name == entry.if_name && one.conf.name() == entry.conf.name();
        for one in entries.iter().filter(is_same) {
            if pod_netns::is_there(pipeline, &other, one).await {
                return true;
            }
        }
    }
    false
}

/// Whether an attachment other than the default network is only waiting for its undo, because its
/// ADD or a hot-unplug failed. The pod is complete without it.
pub(super) fn is_leftover(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    let is_pending = || {
        let undo = pipeline.retries.get(&dirs.cni, &entry.container_id);
        undo.is_some_and(|undo| undo.of(entry).is_some())
    };
    let never_made = entry.result.is_none() && entry.failed_add.is_some();
    !entry.is_default && (never_made || is_pending())
}

/// Whether an attachment's interface exists in its own namespace.
pub(super) async fn is_living(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    let Some(netns) = entry.netns.as_deref().filter(|path| !path.is_empty()) else {
        return false;
    };
    if !pod_netns::is_there(pipeline, dirs, entry).await {
        return false;
    }
    let exists = pod_netns::interface_exists(pipeline, netns, &entry.if_name).await;
    exists.unwrap_or(false)
}

/// Logs that a plugin refused to delete what it had refused to add.
fn announce_refusal(pipeline: &Pipeline, entry: &Entry, refusal: &DelegateError) {
    tracing::warn!(
        container = %entry.container_id,
        pod = %entry.pod,
        network = entry.network,
        interface = %entry.if_name,
        error = crate::report::chain(refusal),
        "a plugin that refused the ADD refuses the DEL as well; nothing of it is left to remove"
    );
    let event = Event {
        kind: EventKind::Warning,
        reason: "DeleteRefused",
        message: format!(
            "interface {} was never attached, and its plugin refuses to delete it: {}",
            entry.if_name,
            crate::report::chain(refusal)
        ),
    };
    pipeline.ports.cluster.event(&entry.pod, event);
}

/// Records what a sandbox still has and schedules its retry; removes the rest.
pub(super) async fn settle(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    (meant, staying): (&[Entry], Vec<Entry>),
    mut left: Vec<Left>,
) -> Result<(), Error> {
    for doubtful in left.extract_if(.., |one| {
        let attempts = || pipeline.retries.attempts(dirs, &one.entry);
        one.doubtful && !one.holds && attempts() + 1 >= DOUBTFUL_ATTEMPTS
    }) {
        doubtful.give_up(pipeline);
    }
    if staying.is_empty() && left.is_empty() {
        let extent = Extent::of(meant);
        return forget(pipeline, dirs, container, extent).await;
    }
    let left_entries = left.iter().map(|one| &one.entry);
    let has_default = staying.iter().chain(left_entries).any(|one| one.is_default);
    if Extent::of(meant) == Extent::Whole && !has_default {
        // What is left does not mean that the pod was only hot-plugged.
        pipeline.undone.insert(&dirs.cni, container);
    }
    // In plan order.
    let mut has = staying.clone();
    has.extend(left.iter().rev().map(|one| one.entry.clone()));
    if let Err(error) = pipeline.ports.ledger.record(&dirs.cni, &has).await {
        // The plan then lists more than is left, which is harmless to a DEL.
        tracing::error!(
            %container,
            error = crate::report::chain(&error),
            "could not record which attachments of the container are left; the ledger lists more than that"
        );
    }
    let retries = &pipeline.retries;
    if left.is_empty() {
        retries.release(pipeline, dirs, container, &staying).await;
        return Ok(());
    }
    let pending = left.iter().map(Left::pending).collect();
    let holds = left.iter().any(|one| one.holds);
    let errors = left.into_iter().map(|one| one.error).collect();
    let Some(error) = Error::of_all(errors) else {
        return Ok(());
    };
    let reason = crate::report::chain(&error);
    retries
        .keep(pipeline, dirs, container, pending, &staying, reason)
        .await;
    if holds { Err(error) } else { Ok(()) }
}

/// How much of a sandbox an undo covered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All that the pod has.
    Whole,
    /// What was hot-plugged into a pod that another daemon or an earlier ledger attached.
    Plugged,
}

impl Extent {
    /// A plan of this daemon includes the default network. If that was undone or forgotten before,
    /// the others still have the name of the pod's runtime network.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let is_of_plan = |one: &Entry| one.is_default || one.runtime_network.is_some();
        match entries.iter().any(is_of_plan) {
            true => Self::Whole,
            false => Self::Plugged,
        }
    }
}

/// Removes a sandbox that has nothing left in the ledger.
pub(super) async fn forget(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    extent: Extent,
) -> Result<(), Error> {
    if let Err(error) = pipeline.ports.ledger.forget(&dirs.cni, container).await {
        let sandbox = Sandbox::recorded(container.clone());
        return keep_error(pipeline, dirs, &sandbox, error.into()).await;
    }
    pipeline.retries.cancel(dirs, container);
    pipeline.traces.remove(&dirs.cni, container);
    if extent == Extent::Whole {
        pipeline.undone.insert(&dirs.cni, container);
    }
    pipeline.ports.policies.release(container).await;
    Ok(())
}
