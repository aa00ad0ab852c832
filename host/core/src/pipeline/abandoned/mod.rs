//! Collects what containers without a sandbox have left: attachments in the ledger, and addresses
//! that `host-local` has reserved. Most runtimes send no GC, and one that was killed or lost its
//! state sends no DEL either.
//!
//! The daemon compares its ledger with the runtime's sandboxes at an interval. It collects what has
//! had no sandbox in consecutive observations over a grace period, and never
//!
//! - what is being attached or deleted, or was while the daemon looked;
//! - what lives: a namespace that exists with the interface or with processes, or whose existence is
//!   in doubt; an address that an interface on the node has;
//! - anything after an answer that is an error, or that cannot be the list of this node's sandboxes.
//!
//! An attachment is undone like a failed DEL's: by its delegates, with the recorded conf, in the
//! background.

mod absences;
mod addresses;
mod ledgers;
mod living;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cni_types::args::{ContainerId, IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Pipeline;
use super::dirs::Dirs;
use super::retries::{all_pending, seconds};
use super::turns::{Arrivals, Work};
use crate::domain::entry::Entry;
use crate::domain::pod::PodRef;
use crate::domain::sandbox::Sandbox;
use crate::ports::{Reservation, Reservations, Sandboxes};
use absences::Absences;
use ledgers::{Ledgers, Recorded};
use living::{is_inhabited, is_living};

/// How many of the last collected things are kept for operators.
const RECENT: usize = 200;

/// When the daemon collects.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The time between two observations.
    pub interval: Duration,
    /// How long a container must have no sandbox.
    pub grace: Duration,
}

/// Something that was collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The container without a sandbox.
    pub container: ContainerId,
    /// Its pod; `None` for an address, whose pod is unknown.
    pub pod: Option<PodRef>,
    /// The network.
    pub network: String,
    /// What was left of the container there.
    pub what: Leftover,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// What a container has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// An attachment in the ledger.
    Attachment(IfName),
    /// A reserved address without an attachment.
    Address(IpAddr),
}

/// Compares the ledger with the runtime's sandboxes.
pub struct Collector {
    sandboxes: Arc<dyn Sandboxes>,
    reservations: Arc<dyn Reservations>,
    schedule: Schedule,
    seen: tokio::sync::Mutex<Seen>,
    recent: Mutex<VecDeque<Collected>>,
}

/// What earlier observations found.
#[derive(Default)]
struct Seen {
    containers: Absences<Recorded>,
    addresses: Absences<Reservation>,
    /// Confs of networks that had attachments; the last of each name.
    confs: BTreeMap<NetworkName, NetworkConfList>,
    /// Why the last answer was not used.
    trouble: Option<String>,
}

impl Collector {
    /// Creates a collector that has observed nothing yet.
    pub fn new(
        sandboxes: Arc<dyn Sandboxes>,
        reservations: Arc<dyn Reservations>,
        schedule: Schedule,
    ) -> Self {
        Self {
            sandboxes,
            reservations,
            schedule,
            seen: tokio::sync::Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// What was collected last, the oldest first.
    pub fn recent(&self) -> Vec<Collected> {
        let recent = self.recent.lock();
        recent.iter().cloned().collect()
    }

    fn remember(&self, collected: Collected) {
        let mut recent = self.recent.lock();
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(collected);
    }
}

/// Observes at the interval, until the daemon exits.
pub(super) async fn run(pipeline: &Arc<Pipeline>, collector: &Collector) {
    loop {
        observe(pipeline, collector).await;
        tokio::time::sleep(collector.schedule.interval).await;
    }
}

/// Makes one observation, and collects what is due.
pub(super) async fn observe(pipeline: &Arc<Pipeline>, collector: &Collector) {
    let mut seen = collector.seen.lock().await;
    let seen = &mut *seen;
    // First: what is attached from now on is in neither list.
    let arrivals = pipeline.turns.arrivals();
    let ledgers = Ledgers::read(pipeline).await;
    addresses::remember(&mut seen.confs, &ledgers);
    let listed = match collector.sandboxes.list().await {
        Ok(listed) => listed,
        Err(error) => return seen.distrust(crate::report::chain(&error)),
    };
    if let Some(reason) = contradiction(pipeline, &ledgers, &listed, &arrivals).await {
        return seen.distrust(reason);
    }
    if seen.trouble.take().is_some() {
        tracing::info!("the runtime lists its sandboxes again; a new grace period begins");
    }
    let now = Instant::now();
    let grace = collector.schedule.grace;
    let absent = abandoned(pipeline, &ledgers, &listed, &arrivals).await;
    for due in seen.containers.note(absent, now, grace) {
        if let Some((dirs, _)) = ledgers.containers.get(&due) {
            collect(pipeline, collector, dirs, &due, &arrivals).await;
        }
    }
    addresses::observe(pipeline, collector, seen, (&ledgers, &listed), &arrivals).await;
}

impl Seen {
    /// Begins anew, because an answer cannot be used. Logs each reason once.
    fn distrust(&mut self, reason: String) {
        self.containers.clear();
        self.addresses.clear();
        if self.trouble.as_ref() != Some(&reason) {
            tracing::warn!(
                error = reason,
                "nothing is collected until the runtime lists its sandboxes"
            );
            self.trouble = Some(reason);
        }
    }
}

/// Why a list cannot be that of this node's sandboxes: it has none of those in the ledger, although
/// processes run in a recorded namespace. The socket is then another runtime's, or the runtime has
/// not read its state yet.
async fn contradiction(
    pipeline: &Pipeline,
    ledgers: &Ledgers,
    listed: &BTreeSet<ContainerId>,
    arrivals: &Arrivals,
) -> Option<String> {
    if ledgers.known.iter().any(|one| listed.contains(one)) {
        return None;
    }
    for (recorded, (dirs, entries)) in &ledgers.containers {
        tokio::task::yield_now().await;
        // Its sandbox may not be listed yet.
        if arrivals.has(&recorded.container) {
            continue;
        }
        for entry in entries {
            if is_inhabited(pipeline, dirs, entry).await {
                let (container, sandboxes) = (&recorded.container, listed.len());
                return Some(format!(
                    "the list of {sandboxes} sandboxes has none of the ledger's, but processes run in the network \
                     namespace of container {container}"
                ));
            }
        }
    }
    None
}

/// The containers without a sandbox of which nothing lives.
async fn abandoned(
    pipeline: &Pipeline,
    ledgers: &Ledgers,
    listed: &BTreeSet<ContainerId>,
    arrivals: &Arrivals,
) -> Vec<Recorded> {
    let mut absent = Vec::new();
    for (recorded, (dirs, entries)) in &ledgers.containers {
        let container = &recorded.container;
        if listed.contains(container) || is_touched(pipeline, dirs, container, arrivals) {
            continue;
        }
        // There may be a hundred thousand; requests go on between two.
        tokio::task::yield_now().await;
        if !any_lives(pipeline, dirs, entries).await {
            absent.push(recorded.clone());
        }
    }
    absent
}

async fn any_lives(pipeline: &Pipeline, dirs: &Dirs, entries: &[Entry]) -> bool {
    for entry in entries {
        if is_living(pipeline, dirs, entry).await {
            return true;
        }
    }
    false
}

/// Whether requests or the daemon's retries work on a container.
fn is_touched(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
    arrivals: &Arrivals,
) -> bool {
    arrivals.has(container) || pipeline.retries.has(&dirs.cni, container)
}

/// Schedules the undo of a container, unless anything about it has changed.
async fn collect(
    pipeline: &Arc<Pipeline>,
    collector: &Collector,
    dirs: &Dirs,
    due: &Recorded,
    arrivals: &Arrivals,
) {
    let container = &due.container;
    let Some(held) = pipeline.turns.try_take(container, Work::Gc) else {
        return;
    };
    // Recorded DELs come before the undo.
    let _turn = held.leaving_records();
    if is_touched(pipeline, dirs, container, arrivals) {
        return;
    }
    let sandbox = Sandbox::recorded(container.clone());
    let ledger = &pipeline.ports.ledger;
    let entries = match ledger.load(&dirs.cni, &sandbox).await {
        Ok(None) => ledger.results(&dirs.cni, &sandbox).await,
        recorded => recorded.map(Option::unwrap_or_default),
    };
    // What is damaged waits for an operator.
    let Ok(entries) = entries else {
        return;
    };
    if Recorded::of(dirs, container, &entries) != *due || any_lives(pipeline, dirs, &entries).await
    {
        return;
    }
    let seconds_without = collector.schedule.grace.as_secs();
    for entry in &entries {
        tracing::warn!(
            %container,
            pod = %entry.pod,
            network = entry.network,
            interface = %entry.if_name,
            seconds_without,
            "collecting an attachment: the runtime has no sandbox of this id, and its namespace is gone"
        );
        collector.remember(Collected {
            container: container.clone(),
            pod: Some(entry.pod.clone()),
            network: entry.network.clone(),
            what: Leftover::Attachment(entry.if_name.clone()),
            at: seconds(),
        });
        pipeline.count_collected("attachment");
    }
    let reason = "the runtime has no sandbox of this id";
    let pending = all_pending(&entries, reason);
    pipeline.retries.undo_soon(dirs, container, pending);
}
