//! GC: undoes what the runtime no longer knows, and passes the remaining attachments to the
//! delegates of every network that the runtime's pods use. Continues past errors and returns those
//! of the delegates; a sandbox that cannot be undone is retried in the background and fails nothing
//! else.
//!
//! Attachments that came through another runtime's conf, or are recorded in another directory, are
//! in use: the runtime does not list them. They are passed to the delegates as well, because
//! networks are shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::args::{ContainerId, IfName};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::Instant;

use super::dirs::Dirs;
use super::gc_networks::{collect_all, networks};
use super::gc_scope::Others;
use super::limits::{after, patiently, within};
use super::retries::all_pending;
use super::turns::{Arrivals, Work};
use super::{Error, Pipeline, deferred, pod_netns, undo};
use crate::conf::net_conf::NetConf;
use crate::domain::attachment::interface_at;
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{Attached, LedgerError};
use crate::spans::{stage, step};

/// How many attachments beside the default network's a sandbox with an unknown plan may have.
pub(super) const GUESSED: usize = 16;
/// How many sandboxes are undone, or networks collected, concurrently.
pub(super) const AT_ONCE: usize = 8;

/// `valid` are the attachments in use according to the runtime; without them nothing is undone.
pub(super) async fn gc(
    pipeline: &Arc<Pipeline>,
    conf: Arc<NetConf>,
    valid: Option<Vec<Attached>>,
) -> Result<(), Error> {
    let patience = pipeline.timeouts.stop();
    // Taken first: attachments made from now on are not in the runtime's list.
    let arrivals = pipeline.turns.arrivals();
    let pipeline = Arc::clone(pipeline);
    within(after(patience), Error::Continues(patience), async move {
        collect(&pipeline, &conf, valid, &arrivals).await
    })
    .await
}

async fn collect(
    pipeline: &Arc<Pipeline>,
    conf: &NetConf,
    valid: Option<Vec<Attached>>,
    arrivals: &Arrivals,
) -> Result<(), Error> {
    let dirs = Dirs::of(conf);
    let soon = after(pipeline.timeouts.background());
    let deferred = {
        let (pipeline, dirs) = (Arc::clone(pipeline), dirs.clone());
        async move {
            let others = pipeline.directories.besides(&dirs);
            let each = [&dirs].into_iter().chain(&others);
            join_all(each.map(|dirs| deferred::carry_out_all(&pipeline, dirs))).await;
        }
    };
    patiently(soon, step("deferred", deferred)).await;
    let listing = stage("ledger", pipeline.ports.ledger.list(&dirs.cni)).await?;
    let mut errors = Vec::new();
    let others = others(pipeline, conf, &listing.entries, valid.as_deref(), arrivals).await;
    let networks = networks(pipeline, conf, &listing.entries, &others, &mut errors).await;
    if let Some(valid) = &valid {
        let stale = stale(&listing.entries, valid, &others, arrivals);
        let stale = stale.into_iter().map(|one| (dirs.clone(), one));
        let stale = stale.chain(ended_elsewhere(pipeline, &dirs, arrivals).await);
        let until = after(pipeline.timeouts.stop() / 2);
        let undoing = stream::iter(stale).for_each_concurrent(AT_ONCE, |(dirs, one)| async move {
            undo(pipeline, &dirs, arrivals, one, until).await;
        });
        step("undo", undoing).await;
    }
    // List again: what was attached meanwhile is in use.
    let listing = pipeline.ports.ledger.list(&dirs.cni).await?;
    let others = self::others(pipeline, conf, &listing.entries, valid.as_deref(), arrivals).await;
    let (listed, unlisted) = unreadable(&listing.unreadable, valid.as_deref());
    let mut attached = in_use(&listing.entries, valid, &others, arrivals);
    attached.extend(listed);
    if !others.is_empty() {
        attached.extend(unlisted);
    }
    let Some(elsewhere) = elsewhere(pipeline, &dirs).await else {
        // Delegates would take the attachments of other runtimes for unused.
        return Error::of_all(errors).map_or(Ok(()), Err);
    };
    attached.extend(elsewhere);
    let valid: Vec<Attached> = attached.iter().cloned().collect();
    step("policies", pipeline.ports.policies.gc(&valid)).await;
    errors.extend(collect_all(pipeline, &dirs, networks, attached, arrivals).await);
    Error::of_all(errors).map_or(Ok(()), Err)
}

/// The containers in the GC's directory that belong to other runtime networks.
async fn others(
    pipeline: &Pipeline,
    conf: &NetConf,
    entries: &[Entry],
    valid: Option<&[Attached]>,
    arrivals: &Arrivals,
) -> Others {
    let valid = valid.into_iter().flatten().map(|one| &one.container_id);
    let valid: BTreeSet<&ContainerId> = valid.collect();
    let is_known = |container: &ContainerId| valid.contains(container) || arrivals.has(container);
    let (dirs, name) = (Dirs::of(conf), conf.name.as_ref());
    Others::of(pipeline, &dirs, name, entries, is_known).await
}

/// The attachments recorded in other directories, which may use the same networks; `None` if not all
/// directories are known and readable.
async fn elsewhere(pipeline: &Pipeline, dirs: &Dirs) -> Option<Vec<Attached>> {
    let ledger = &pipeline.ports.ledger;
    let mut attached = Vec::new();
    let mut is_known = !pipeline.directories.are_incomplete();
    if !is_known {
        tracing::warn!(
            "delegates do not collect garbage: the record of further cniDirs was damaged, and what is attached in them \
             is unknown until the node is started again"
        );
    }
    for other in pipeline.directories.besides(dirs) {
        let listing = match ledger.list(&other.cni).await {
            Ok(_) if ledger.is_missing(&other.cni).await => {
                tracing::warn!(
                    dir = %other.cni.display(),
                    "delegates do not collect garbage: a further cniDir is missing, and what is attached in it is unknown; \
                     mount it or, if it is not needed any more, create it empty"
                );
                is_known = false;
                continue;
            }
            Ok(listing) => listing,
            Err(error) => {
                tracing::error!(
                    dir = %other.cni.display(),
                    error = crate::report::chain(&error),
                    "delegates do not collect garbage: a further cniDir cannot be read, and what is attached in it is unknown"
                );
                is_known = false;
                continue;
            }
        };
        attached.extend(listing.entries.iter().map(of_entry));
        let unreadable = listing.unreadable.iter();
        attached.extend(unreadable.flat_map(|(container, error)| guessed(container, error)));
    }
    is_known.then_some(attached)
}

/// The attachments in other directories whose namespaces are gone, by container: their runtime may
/// not be there to list them any more, as after its conf got another name and `cniDir`.
async fn ended_elsewhere(
    pipeline: &Pipeline,
    dirs: &Dirs,
    arrivals: &Arrivals,
) -> Vec<(Dirs, (ContainerId, Vec<Entry>))> {
    let mut all = Vec::new();
    for other in pipeline.directories.besides(dirs) {
        // What cannot be read is reported later.
        let Ok(listing) = pipeline.ports.ledger.list(&other.cni).await else {
            continue;
        };
        let mut ended: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
        let mut living: BTreeSet<ContainerId> = BTreeSet::new();
        for entry in listing.entries {
            let container = &entry.container_id;
            if arrivals.has(container) || living.contains(container) {
                continue;
            }
            // There may be a hundred thousand; requests go on between two.
            tokio::task::yield_now().await;
            match pod_netns::has_ended(pipeline, &other, &entry).await {
                true => ended.entry(container.clone()).or_default().push(entry),
                false => drop(living.insert(container.clone())),
            }
        }
        all.extend(ended.into_iter().map(|one| (other.clone(), one)));
    }
    all
}

/// The attachments that a sandbox with an unreadable record may have.
pub(super) fn guessed(container: &ContainerId, error: &LedgerError) -> Vec<Attached> {
    let attached = |if_name: IfName| Attached {
        container_id: container.clone(),
        if_name,
    };
    let default = Sandbox::recorded(container.clone()).if_name;
    let (lost, unknown) = match error {
        LedgerError::Lost(lost) => (lost.as_slice(), 0),
        // Without the plan, the names that the pod's networks get by default.
        _ => (&[][..], GUESSED),
    };
    let lost = lost
        .iter()
        .filter_map(|one| IfName::new(one.if_name.as_str()).ok());
    let unknown = (1..=unknown).map(interface_at);
    lost.chain([default]).chain(unknown).map(attached).collect()
}

/// The sandboxes that the runtime does not know, with their entries. The runtime knows only a
/// container's first interface; the others live as long as that one.
fn stale(
    entries: &[Entry],
    valid: &[Attached],
    others: &Others,
    arrivals: &Arrivals,
) -> BTreeMap<ContainerId, Vec<Entry>> {
    let valid: BTreeSet<&ContainerId> = valid.iter().map(|one| &one.container_id).collect();
    let mut stale: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        let container = &entry.container_id;
        if !valid.contains(container) && !others.has(container) && !arrivals.has(container) {
            let entries = stale.entry(container.clone()).or_default();
            entries.push(entry.clone());
        }
    }
    stale
}

/// What is guessed of sandboxes whose attachments cannot be read: of those that the runtime lists,
/// and of the others, which may be another runtime's.
fn unreadable(
    unreadable: &[(ContainerId, LedgerError)],
    valid: Option<&[Attached]>,
) -> (Vec<Attached>, Vec<Attached>) {
    let is_used = |container: &ContainerId| {
        valid.is_none_or(|valid| valid.iter().any(|one| one.container_id == *container))
    };
    let (mut listed, mut unlisted) = (Vec::new(), Vec::new());
    for (container, error) in unreadable {
        let guessed = guessed(container, error);
        if !is_used(container) {
            unlisted.extend(guessed);
            continue;
        }
        tracing::error!(
            %container,
            error = crate::report::chain(error),
            "cannot read what a container in use has; GC takes what it may have as in use"
        );
        listed.extend(guessed);
    }
    (listed, unlisted)
}

/// The attachments in use: those the runtime listed, and those the ledger has of the same, newer or
/// other runtimes' containers; without a list, all. Pending undos are not in use: delegates may
/// remove them.
fn in_use(
    entries: &[Entry],
    valid: Option<Vec<Attached>>,
    others: &Others,
    arrivals: &Arrivals,
) -> BTreeSet<Attached> {
    let containers: Option<BTreeSet<ContainerId>> = valid
        .as_ref()
        .map(|valid| valid.iter().map(|one| one.container_id.clone()).collect());
    let is_used = |container: &ContainerId| {
        let is_valid = |valid: &BTreeSet<ContainerId>| valid.contains(container);
        containers.as_ref().is_none_or(is_valid) || others.has(container) || arrivals.has(container)
    };
    let known = entries
        .iter()
        .filter(|entry| is_used(&entry.container_id))
        .map(of_entry);
    known.chain(valid.into_iter().flatten()).collect()
}

pub(super) fn of_entry(entry: &Entry) -> Attached {
    Attached {
        container_id: entry.container_id.clone(),
        if_name: entry.if_name.clone(),
    }
}

/// Undoes what the ledger has of a container: its plan or, if that is gone, `known`. Slow work
/// continues in the background; work that has not started by `until` is left to the retries.
async fn undo(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    arrivals: &Arrivals,
    (container, known): (ContainerId, Vec<Entry>),
    until: Instant,
) {
    let retries = &pipeline.retries;
    if retries.is_hanging(&dirs.cni, &container) {
        return;
    }
    let turns = &pipeline.turns;
    let turn = match Instant::now() < until {
        // A background undo may hold the turn.
        true if retries.has(&dirs.cni, &container) => turns.try_take(&container, Work::Gc),
        true => tokio::time::timeout_at(until, turns.take(&container, Work::Gc))
            .await
            .ok(),
        false => None,
    };
    let Some(held) = turn else {
        if !arrivals.has(&container) && !retries.has(&dirs.cni, &container) {
            let reason = "the runtime does not know the container";
            retries.undo_soon(dirs, &container, all_pending(&known, reason));
        }
        return;
    };
    if arrivals.has(&container) {
        return;
    }
    let soon = after(pipeline.timeouts.background());
    let undoing = {
        let (pipeline, dirs) = (Arc::clone(pipeline), dirs.clone());
        let (container, known) = (container.clone(), known.clone());
        async move {
            let (turn, settled) = deferred::settle(&pipeline, &dirs, &container, held).await;
            if let Err(error) = &settled {
                deferred::keep(&pipeline, &dirs, &container, error).await;
            }
            if !settled.unwrap_or_default() {
                undo_one(&pipeline, &dirs, &container, &known).await;
            }
            drop(turn);
        }
    };
    if patiently(soon, undoing).await.is_none() {
        retries
            .ensure_undo(pipeline, dirs, &container, &known)
            .await;
    }
}

/// Like [`undo()`], with the container's turn held. A failure is logged and retried.
async fn undo_one(pipeline: &Arc<Pipeline>, dirs: &Dirs, container: &ContainerId, known: &[Entry]) {
    // Reload: the listing is older than the turn.
    let sandbox = Sandbox::recorded(container.clone());
    let undone = match pipeline.ports.ledger.load(&dirs.cni, &sandbox).await {
        Ok(None) => undo::entries_of(pipeline, dirs, &sandbox, known, Vec::new()).await,
        _ => undo::recorded(pipeline, dirs, &sandbox).await,
    };
    if let Err(error) = undone {
        tracing::error!(
            %container,
            error = crate::report::chain(&error),
            "GC could not undo a container that the runtime does not list; the daemon retries"
        );
    }
}
