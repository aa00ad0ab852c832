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
use cni_types::conf::NetworkConfList;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::Instant;

use super::dirs::Dirs;
use super::gc_scope::Others;
use super::limits::{after, patiently, within};
use super::retries::all_pending;
use super::turns::{Arrivals, Work};
use super::{Error, Pipeline, deferred, pod_netns, undo};
use crate::conf::net_conf::NetConf;
use crate::domain::attachment::interface_at;
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::domain::shared_conf;
use crate::ports::{Attached, LedgerError};
use crate::spans::{stage, step};
use crate::stages::resolve;

/// How many attachments beside the default network's a sandbox with an unreadable plan may have.
const GUESSED: usize = 16;
/// How many sandboxes are undone, or networks collected, concurrently.
const AT_ONCE: usize = 8;

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
    let each = networks.iter().map(|network| {
        let (dirs, attached) = (&dirs, &attached);
        async move {
            let collected = collect_one(pipeline, dirs, network, attached, arrivals);
            let collected = step("collect", collected).await;
            (network, collected.err().unwrap_or_default())
        }
    });
    let each: Vec<_> = each.collect();
    let mut collected = stream::iter(each).buffer_unordered(AT_ONCE);
    while let Some((network, failed)) = collected.next().await {
        if network.is_attached {
            errors.extend(failed);
            continue;
        }
        for error in failed {
            tracing::warn!(
                network = %network.conf.name(),
                error = crate::report::chain(&error),
                "GC of a network without attachments failed; the node's GC continues"
            );
        }
    }
    Error::of_all(errors).map_or(Ok(()), Err)
}

/// Runs the GC of one network's delegates. The network's ADDs wait meanwhile, so slow delegates are
/// killed.
async fn collect_one(
    pipeline: &Pipeline,
    dirs: &Dirs,
    network: &Network,
    attached: &BTreeSet<Attached>,
    arrivals: &Arrivals,
) -> Result<(), Vec<Error>> {
    let conf = &network.conf;
    let _collection = pipeline.collections.begin(&network.keys);
    let mut attached = attached.clone();
    for container in arrivals.all() {
        // Recorded after the listing, and before this collection began.
        let sandbox = Sandbox::recorded(container);
        for dirs in [dirs]
            .into_iter()
            .chain(&pipeline.directories.besides(dirs))
        {
            match pipeline.ports.ledger.load(&dirs.cni, &sandbox).await {
                Ok(entries) => attached.extend(entries.iter().flatten().map(of_entry)),
                Err(error) => attached.extend(guessed(&sandbox.container_id, &error)),
            }
        }
    }
    let attached: Vec<Attached> = attached.into_iter().collect();
    let waited = pipeline.timeouts.collection();
    let collecting = pipeline.ports.delegates.gc(&dirs.bin, conf, &attached);
    match tokio::time::timeout(waited, collecting).await {
        Ok(collected) => collected.map_err(|errors| errors.into_iter().map(Error::from).collect()),
        Err(_) => Err(vec![Error::Collecting {
            network: conf.name().to_string(),
            waited,
        }]),
    }
}

/// A network to collect.
struct Network {
    conf: NetworkConfList,
    /// The keys of its attachments.
    keys: BTreeSet<String>,
    /// Whether it is the default network, or one of its ADDs succeeded. A plugin that rejects its
    /// conf rejects GC as well, which must not fail the node's GC.
    is_attached: bool,
}

/// Every conf in the ledger with an attachment of the GC's runtime network, plus the default
/// network, which may have no pods at present. Confs of one name can differ in their delegates;
/// pod-specific parts, such as arguments, are ignored when comparing them.
async fn networks(
    pipeline: &Pipeline,
    conf: &NetConf,
    entries: &[Entry],
    others: &Others,
    errors: &mut Vec<Error>,
) -> Vec<Network> {
    let mut networks: BTreeMap<String, Network> = BTreeMap::new();
    let mut add = |conf: &NetworkConfList, name: &str, is_attached| {
        let text = shared_conf::text(conf);
        let network = networks.entry(text.clone());
        let network = network.or_insert_with(|| Network {
            conf: conf.clone(),
            keys: BTreeSet::from([text]),
            is_attached,
        });
        network.keys.insert(name.to_owned());
        if is_attached && !network.is_attached {
            network.conf = conf.clone();
            network.is_attached = true;
        }
    };
    match resolve::known_cluster_network(conf, pipeline.lookups()).await {
        Ok(found) => add(&found.conf, &found.name, true),
        Err(error) => errors.push(error.into()),
    }
    for entry in entries.iter().filter(|one| !others.has(&one.container_id)) {
        add(&entry.conf, &entry.network, entry.result.is_some());
    }
    let mut networks: Vec<_> = networks.into_values().collect();
    networks.sort_by(|a, b| a.conf.name().as_str().cmp(b.conf.name().as_str()));
    networks
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
fn guessed(container: &ContainerId, error: &LedgerError) -> Vec<Attached> {
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
/// other runtimes' containers; without a list, all. Pending undos are not in use: delegates may remove them.
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

fn of_entry(entry: &Entry) -> Attached {
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
