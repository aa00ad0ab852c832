//! GC: what the runtime does not know any more is undone, and the delegates of every network that is
//! in use on the node are told what is left. Goes on past errors and returns all of them.

use std::collections::{BTreeMap, BTreeSet};

use cni_types::args::ContainerId;
use cni_types::conf::NetworkConfList;
use libcni::Attachment;

use super::{Error, Pipeline, deferred, del};
use crate::config::net_conf::NetConf;
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{Attached, Listing};
use crate::stages::resolve;

/// `valid` is what the runtime says is in use. Where it says nothing, nothing is undone.
pub(super) async fn gc(
    pipeline: &Pipeline,
    conf: &NetConf,
    valid: Option<Vec<Attachment>>,
) -> Result<(), Error> {
    let mut errors = deferred::carry_out_all(pipeline, &conf.cni_dir, &conf.bin_dirs).await;
    let Listing {
        entries,
        unreadable,
    } = pipeline.ledger.list(&conf.cni_dir).await?;
    let mut networks = networks(pipeline, conf, &entries).await;
    errors.append(&mut networks.errors);
    let (kept, stale) = divide(entries, valid.as_deref());
    for (container, entries) in stale {
        errors.extend(undo(pipeline, conf, &container, &entries).await);
    }
    // What such a pod has would look as if nobody had it.
    if !unreadable.is_empty() {
        errors.extend(unreadable.into_iter().map(|(_, error)| error.into()));
        return Error::of_all(errors).map_or(Ok(()), Err);
    }
    let attached = in_use(&kept, valid.unwrap_or_default());
    pipeline.policies.gc(&attached).await;
    for network in networks.confs.values() {
        if let Err(failed) = pipeline
            .delegates
            .gc(&conf.bin_dirs, network, &attached)
            .await
        {
            errors.extend(failed.into_iter().map(Error::from));
        }
    }
    Error::of_all(errors).map_or(Ok(()), Err)
}

struct Networks {
    confs: BTreeMap<String, NetworkConfList>,
    errors: Vec<Error>,
}

/// Every network of the ledger, and the default network although no pod may have it at present.
async fn networks(pipeline: &Pipeline, conf: &NetConf, entries: &[Entry]) -> Networks {
    let named = |conf: &NetworkConfList| (conf.name().to_string(), conf.clone());
    let mut confs: BTreeMap<_, _> = entries.iter().map(|entry| named(&entry.conf)).collect();
    let mut errors = Vec::new();
    match resolve::known_cluster_network(conf, pipeline.lookups()).await {
        Ok(found) => confs.extend([named(&found.conf)]),
        Err(error) => errors.push(error.into()),
    }
    Networks { confs, errors }
}

/// What stays, and the containers that are to be undone.
fn divide(
    entries: Vec<Entry>,
    valid: Option<&[Attachment]>,
) -> (Vec<Entry>, BTreeMap<ContainerId, Vec<Entry>>) {
    let Some(valid) = valid else {
        return (entries, BTreeMap::new());
    };
    let containers: BTreeSet<&ContainerId> = valid.iter().map(|one| &one.container_id).collect();
    // The runtime knows the first interface alone; a container's others live as long as it.
    let mut kept = Vec::new();
    let mut stale: BTreeMap<ContainerId, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        if containers.contains(&entry.container_id) {
            kept.push(entry);
        } else {
            let container = entry.container_id.clone();
            stale.entry(container).or_default().push(entry);
        }
    }
    (kept, stale)
}

/// The union of what the ledger has and what the runtime says.
fn in_use(kept: &[Entry], valid: Vec<Attachment>) -> Vec<Attached> {
    let known = kept.iter().map(|entry| Attached {
        container_id: entry.container_id.clone(),
        if_name: entry.if_name.clone(),
    });
    let told = valid.into_iter().map(|one| Attached {
        container_id: one.container_id,
        if_name: one.if_name,
    });
    let all: BTreeSet<Attached> = known.chain(told).collect();
    all.into_iter().collect()
}

/// Undoes what the ledger has of a container: its plan or, where there is none any more, what else
/// is `known` of it.
async fn undo(
    pipeline: &Pipeline,
    conf: &NetConf,
    container: &ContainerId,
    known: &[Entry],
) -> Option<Error> {
    let _turn = pipeline.turns.take(container).await;
    // As it is now: the list is older than the turn.
    let sandbox = Sandbox::recorded(container.clone());
    let error = match pipeline.ledger.load(&conf.cni_dir, &sandbox).await {
        Ok(None) => {
            let mut errors = Vec::new();
            for entry in known.iter().rev() {
                let undone = del::detach(pipeline, &conf.cni_dir, &conf.bin_dirs, entry).await;
                errors.extend(undone.err());
            }
            return Error::of_all(errors);
        }
        _ => del::sandbox(pipeline, &conf.cni_dir, &conf.bin_dirs, &sandbox).await,
    }
    .err()?;
    pipeline
        .unfinished
        .add(pipeline, &conf.cni_dir, &conf.bin_dirs, container, &error)
        .await;
    Some(error)
}
