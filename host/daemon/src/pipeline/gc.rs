//! GC: what the runtime does not know any more is undone, and the delegates of every network that is
//! in use on the node learn what is left. Goes on past errors and returns those of the delegates; a
//! sandbox that cannot be undone is tried again by itself and fails nothing for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::args::ContainerId;
use cni_types::conf::NetworkConfList;
use futures_util::StreamExt as _;
use futures_util::stream;
use libcni::Attachment;

use super::dirs::Dirs;
use super::limits::{after, within};
use super::turns::Arrivals;
use super::{Error, Pipeline, deferred, undo};
use crate::config::net_conf::NetConf;
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::Attached;
use crate::stages::resolve;

/// Sandboxes that are undone, and networks that collect, at the same time.
const AT_ONCE: usize = 8;

/// `valid` is what the runtime says is in use. Where it says nothing, nothing is undone.
pub(super) async fn gc(
    pipeline: &Arc<Pipeline>,
    conf: Arc<NetConf>,
    valid: Option<Vec<Attachment>>,
) -> Result<(), Error> {
    let patience = pipeline.timeouts.stop();
    // From here on: what is being attached now, or comes later, is not in the runtime's list.
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
    valid: Option<Vec<Attachment>>,
    arrivals: &Arrivals,
) -> Result<(), Error> {
    let dirs = Dirs::of(conf);
    deferred::carry_out_all(pipeline, &dirs).await;
    let listing = pipeline.ledger.list(&dirs.cni).await?;
    let mut errors = Vec::new();
    let networks = networks(pipeline, conf, &listing.entries, &mut errors).await;
    if let Some(valid) = &valid {
        let stale = stale(&listing.entries, valid, arrivals);
        stream::iter(stale)
            .for_each_concurrent(AT_ONCE, |(container, entries)| {
                let dirs = &dirs;
                async move { undo(pipeline, dirs, arrivals, &container, &entries).await }
            })
            .await;
    }
    let collections: Vec<_> = networks
        .iter()
        .map(|network| pipeline.collections.begin(network.conf.name()))
        .collect();
    // Once more: what was attached meanwhile is in use.
    let listing = pipeline.ledger.list(&dirs.cni).await?;
    let unknown = unknown(listing.unreadable, valid.as_deref());
    if !unknown.is_empty() {
        // What such a pod has would look unused.
        errors.extend(unknown);
        return Error::of_all(errors).map_or(Ok(()), Err);
    }
    let attached = in_use(&listing.entries, valid, arrivals);
    pipeline.policies.gc(&attached).await;
    let each = networks
        .iter()
        .zip(collections)
        .map(|(network, collection)| {
            let (dirs, attached) = (&dirs, &attached);
            async move {
                let conf = &network.conf;
                let done = pipeline.delegates.gc(&dirs.bin, conf, attached).await;
                drop(collection);
                (network, done)
            }
        });
    let each: Vec<_> = each.collect();
    let mut collected = stream::iter(each).buffer_unordered(AT_ONCE);
    while let Some((network, done)) = collected.next().await {
        let failed = done.err().unwrap_or_default();
        if network.is_attached {
            errors.extend(failed.into_iter().map(Error::from));
            continue;
        }
        for error in failed {
            tracing::warn!(
                network = %network.conf.name(),
                error = crate::report::chain(&error),
                "GC failed for a network to which nothing is attached"
            );
        }
    }
    Error::of_all(errors).map_or(Ok(()), Err)
}

/// A network that is to collect.
struct Network {
    conf: NetworkConfList,
    /// Whether it is the default network, or an ADD of it succeeded. A plugin that refuses its
    /// configuration refuses GC as well, which must not fail the node's.
    is_attached: bool,
}

/// Every configuration of the ledger, and the default network although no pod may have it at present.
/// Two configurations of one name can have different delegates.
async fn networks(
    pipeline: &Pipeline,
    conf: &NetConf,
    entries: &[Entry],
    errors: &mut Vec<Error>,
) -> Vec<Network> {
    let mut networks: BTreeMap<String, Network> = BTreeMap::new();
    let mut add = |conf: &NetworkConfList, is_attached| {
        let network = networks.entry(conf.text().to_owned());
        let network = network.or_insert_with(|| Network {
            conf: conf.clone(),
            is_attached,
        });
        network.is_attached |= is_attached;
    };
    for entry in entries {
        add(&entry.conf, entry.result.is_some());
    }
    match resolve::known_cluster_network(conf, pipeline.lookups()).await {
        Ok(found) => add(&found.conf, true),
        Err(error) => errors.push(error.into()),
    }
    let mut networks: Vec<_> = networks.into_values().collect();
    networks.sort_by(|a, b| a.conf.name().as_str().cmp(b.conf.name().as_str()));
    networks
}

/// The sandboxes that the runtime does not know, with what is known of them. It knows the first
/// interface alone; a container's others live as long as that.
fn stale(
    entries: &[Entry],
    valid: &[Attachment],
    arrivals: &Arrivals,
) -> BTreeMap<ContainerId, Vec<Entry>> {
    let valid: BTreeSet<&ContainerId> = valid.iter().map(|one| &one.container_id).collect();
    let mut stale: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        let container = &entry.container_id;
        if !valid.contains(container) && !arrivals.has(container) {
            let entries = stale.entry(container.clone()).or_default();
            entries.push(entry.clone());
        }
    }
    stale
}

/// The sandboxes whose attachments are not known although the runtime uses them.
fn unknown(
    unreadable: Vec<(ContainerId, crate::ports::LedgerError)>,
    valid: Option<&[Attachment]>,
) -> Vec<Error> {
    let is_used = |container: &ContainerId| {
        valid.is_none_or(|valid| valid.iter().any(|one| one.container_id == *container))
    };
    unreadable
        .into_iter()
        .filter(|(container, _)| is_used(container))
        .map(|(_, error)| error.into())
        .collect()
}

/// What the runtime says, and what the ledger has of the same containers or has got since. What could
/// not be undone is not in use: delegates may remove it.
fn in_use(entries: &[Entry], valid: Option<Vec<Attachment>>, arrivals: &Arrivals) -> Vec<Attached> {
    let containers: Option<BTreeSet<ContainerId>> = valid
        .as_ref()
        .map(|valid| valid.iter().map(|one| one.container_id.clone()).collect());
    let is_used = |container: &ContainerId| {
        let is_valid = |valid: &BTreeSet<ContainerId>| valid.contains(container);
        containers.as_ref().is_none_or(is_valid) || arrivals.has(container)
    };
    let known = entries
        .iter()
        .filter(|entry| is_used(&entry.container_id))
        .map(|entry| Attached {
            container_id: entry.container_id.clone(),
            if_name: entry.if_name.clone(),
        });
    let named = valid.into_iter().flatten().map(|one| Attached {
        container_id: one.container_id,
        if_name: one.if_name,
    });
    let all: BTreeSet<Attached> = known.chain(named).collect();
    all.into_iter().collect()
}

/// Undoes what the ledger has of a container: its plan or, where there is none any more, what else
/// is `known` of it. A failure is logged and tried again.
async fn undo(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    arrivals: &Arrivals,
    container: &ContainerId,
    known: &[Entry],
) {
    if pipeline.retries.is_running(&dirs.cni, container) {
        return;
    }
    let _turn = pipeline.turns.take(container).await;
    if arrivals.has(container) {
        return;
    }
    // As it is now: the list is older than the turn.
    let sandbox = Sandbox::recorded(container.clone());
    let undone = match pipeline.ledger.load(&dirs.cni, &sandbox).await {
        Ok(None) => undo::entries_of(pipeline, dirs, &sandbox, known, Vec::new()).await,
        _ => undo::recorded(pipeline, dirs, &sandbox, None).await,
    };
    if let Err(error) = undone {
        tracing::error!(
            %container,
            error = crate::report::chain(&error),
            "GC could not undo a sandbox that the runtime does not know; it is tried again"
        );
    }
}
