//! Reserved addresses of containers that neither the runtime nor the ledger knows: the ledger was
//! lost, or the plugin was killed between its reservation and its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::args::{ContainerId, NetworkName};
use cni_types::conf::NetworkConfList;
use tokio::time::Instant;

use super::super::Pipeline;
use super::super::retries::seconds;
use super::super::turns::Arrivals;
use super::ledgers::Ledgers;
use super::{Collected, Collector, Leftover, Seen};
use crate::ports::Reservation;
use crate::stages::{network_lookup, resolve};

/// More networks than the attachments of a node use.
const MAX_CONFS: usize = 1024;
/// How many addresses are released in one observation. Each is looked for in all namespaces.
const AT_ONCE: usize = 256;

/// Remembers the confs in the ledger: their networks may have no attachments later. The last conf
/// of a name replaces an earlier one, whose addresses are in the same directory unless it moved.
pub(super) fn remember(confs: &mut BTreeMap<NetworkName, NetworkConfList>, ledgers: &Ledgers) {
    for conf in ledgers.confs() {
        let is_known = confs.contains_key(conf.name());
        if is_known || confs.len() < MAX_CONFS {
            confs.insert(conf.name().clone(), conf.clone());
        }
    }
}

/// Notes reservations without a container, and releases what is due.
pub(super) async fn observe(
    pipeline: &Arc<Pipeline>,
    collector: &Collector,
    seen: &mut Seen,
    (ledgers, listed): (&Ledgers, &BTreeSet<ContainerId>),
    arrivals: &Arrivals,
) {
    if !ledgers.is_complete {
        seen.addresses.clear();
        return;
    }
    let mut confs: Vec<_> = seen.confs.values().cloned().collect();
    confs.extend(defined(pipeline).await);
    let reserved = collector.reservations.list(&confs).await;
    let is_known = |container: &ContainerId| {
        listed.contains(container) || ledgers.known.contains(container) || arrivals.has(container)
    };
    let absent = reserved.into_iter().filter(|one| !is_known(&one.container));
    let grace = collector.schedule.grace;
    let due = seen.addresses.note(absent, Instant::now(), grace);
    for reservation in due.into_iter().take(AT_ONCE) {
        release(pipeline, collector, &reservation, arrivals).await;
    }
}

/// The confs of networks that the cluster and the runtime's confs define: others belong to other
/// programs.
async fn defined(pipeline: &Pipeline) -> Vec<NetworkConfList> {
    let nads = pipeline.ports.cluster.remembered_nads();
    let mut confs: Vec<_> = nads
        .into_iter()
        .filter_map(|nad| network_lookup::usable_conf(&nad, &pipeline.limits))
        .collect();
    if let Some(conf) = pipeline.last_conf()
        && let Ok(network) = resolve::known_cluster_network(&conf, pipeline.lookups()).await
    {
        confs.push(network.conf);
    }
    confs
}

async fn release(
    pipeline: &Pipeline,
    collector: &Collector,
    reservation: &Reservation,
    arrivals: &Arrivals,
) {
    let Reservation {
        network,
        address,
        container,
        ..
    } = reservation;
    match pipeline.ports.pod_network.has_address(*address).await {
        Ok(false) => {}
        Ok(true) => return,
        Err(error) => {
            tracing::warn!(
                %address,
                %network,
                error = crate::report::chain(&error),
                "cannot tell whether an interface has a reserved address; taking it as in use"
            );
            return;
        }
    }
    if arrivals.has(container) {
        return;
    }
    match collector.reservations.release(reservation).await {
        Ok(true) => {
            tracing::warn!(
                %container,
                %network,
                %address,
                "released an address: neither the runtime nor the ledger knows its container, and no interface has it"
            );
            collector.remember(Collected {
                container: container.clone(),
                pod: None,
                network: network.to_string(),
                what: Leftover::Address(*address),
                at: seconds(),
            });
            pipeline.count_collected("address");
        }
        // It was released or reserved anew meanwhile.
        Ok(false) => {}
        Err(error) => tracing::warn!(
            %container,
            %network,
            %address,
            %error,
            "cannot release an address; the next observation tries again"
        ),
    }
}
