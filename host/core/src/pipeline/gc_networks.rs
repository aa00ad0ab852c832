//! The GC of a node's networks by their delegates. A network whose delegates hang holds up neither the
//! others nor the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cni_types::conf::NetworkConfList;
use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;

use super::dirs::Dirs;
use super::gc::{AT_ONCE, guessed, of_entry};
use super::gc_scope::Others;
use super::limits::{after, patiently};
use super::turns::Arrivals;
use super::{Error, Pipeline};
use crate::conf::net_conf::NetConf;
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::domain::shared_conf;
use crate::ports::Attached;
use crate::spans::step;
use crate::stages::resolve;

/// Lets networks that reach their timeout be reported by name.
const SPARE: Duration = Duration::from_secs(1);

/// Every conf in the ledger with an attachment of the GC's runtime network, plus the default
/// network, which may have no pods at present. Confs of one name can differ in their delegates;
/// pod-specific parts, such as arguments, are ignored when comparing them.
pub(super) async fn networks(
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

/// Runs the GC of all networks, for as long as that of one may take; the rest continues in the
/// background, unless a later GC takes its place. Returns the errors of networks in use.
pub(super) async fn collect_all(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    mut networks: Vec<Network>,
    attached: BTreeSet<Attached>,
    arrivals: &Arrivals,
) -> Vec<Error> {
    let waited = pipeline.timeouts.collection();
    let deadline = after(waited + SPARE);
    let collections = &pipeline.collections;
    let number = collections.next_gc();
    // Those that hung in the last GC must not hold up the others.
    collections.retain_slow(networks.iter().flat_map(|network| &network.keys));
    networks.sort_by_key(|network| collections.is_slow(&network.keys));
    let progress = Arc::new(Mutex::new(Progress {
        errors: Vec::new(),
        left: networks.iter().filter(|one| one.is_attached).count(),
    }));
    let (attached, networks) = (Arc::new(attached), networks.into_iter());
    let collecting = {
        let (pipeline, dirs, arrivals) = (Arc::clone(pipeline), dirs.clone(), arrivals.clone());
        let progress = Arc::clone(&progress);
        async move {
            let each = stream::iter(networks).for_each_concurrent(AT_ONCE, |network| {
                let (pipeline, dirs, arrivals) = (&pipeline, &dirs, &arrivals);
                let (attached, progress) = (Arc::clone(&attached), Arc::clone(&progress));
                async move {
                    if !pipeline.collections.is_latest(number) {
                        return;
                    }
                    let collected = collect_one(pipeline, dirs, &network, &attached, arrivals);
                    let failed = step("collect", collected).await.err().unwrap_or_default();
                    note(&progress, &network, failed);
                }
            });
            each.await;
        }
    };
    let is_done = patiently(deadline, collecting).await.is_some();
    let mut progress = progress.lock();
    let mut errors = std::mem::take(&mut progress.errors);
    if !is_done && progress.left > 0 {
        errors.push(Error::Continues(waited));
    }
    errors
}

/// How far the GC of the networks in use is.
struct Progress {
    errors: Vec<Error>,
    /// How many have not ended.
    left: usize,
}

/// Notes that the GC of a network has ended.
fn note(progress: &Mutex<Progress>, network: &Network, failed: Vec<Error>) {
    if network.is_attached {
        let mut progress = progress.lock();
        progress.left -= 1;
        progress.errors.extend(failed);
        return;
    }
    for error in failed {
        tracing::warn!(
            network = %network.conf.name(),
            error = crate::report::chain(&error),
            "GC of a network without attachments failed; the node's GC continues"
        );
    }
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
    let collected = tokio::time::timeout(waited, collecting).await;
    let is_slow = collected.is_err();
    pipeline.collections.set_slow(&network.keys, is_slow);
    match collected {
        Ok(collected) => collected.map_err(|errors| errors.into_iter().map(Error::from).collect()),
        Err(_) => Err(vec![Error::Collecting {
            network: conf.name().to_string(),
            waited,
        }]),
    }
}

/// A network to collect.
pub(super) struct Network {
    conf: NetworkConfList,
    /// The keys of its attachments.
    keys: BTreeSet<String>,
    /// Whether it is the default network, or one of its ADDs succeeded. A plugin that rejects its
    /// conf rejects GC as well, which must not fail the node's GC.
    is_attached: bool,
}
