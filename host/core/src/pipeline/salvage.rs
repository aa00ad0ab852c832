//! Undoes a container whose record is damaged or partly lost, as far as anything is known of it, and
//! sets the record aside. For a container that is attached anew or is from an earlier boot: keeping
//! the record would hold the container without anything to gain.

use std::fmt;
use std::sync::Arc;

use cni_types::args::ContainerId;

use super::dirs::Dirs;
use super::{Error, Pipeline, cluster_entries, undo};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{LedgerError, Lost, Recorded};
use crate::stages::request::PodRequest;

/// What is damaged of a container's record.
pub(super) enum Damage {
    /// Its plan.
    Plan(LedgerError),
    /// Results of attachments that are in no plan.
    Results {
        /// The container's other attachments.
        known: Vec<Entry>,
        /// The attachments that cannot be reconstructed.
        lost: Vec<Lost>,
    },
}

impl Damage {
    /// Separates damage from intact entries, which are `None` if nothing is recorded.
    ///
    /// # Errors
    /// All other errors of the ledger.
    pub(super) fn apart(
        found: Result<Recorded, LedgerError>,
    ) -> Result<Result<Option<Vec<Entry>>, Self>, LedgerError> {
        match found {
            Ok(Recorded::Nothing) => Ok(Ok(None)),
            Ok(Recorded::Whole(entries)) => Ok(Ok(Some(entries))),
            Ok(Recorded::Partial { known, lost }) => Ok(Err(Self::Results { known, lost })),
            Err(error @ LedgerError::Damaged { .. }) => Ok(Err(Self::Plan(error))),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => f.write_str(&crate::report::chain(error)),
            Self::Results { lost, .. } => LedgerError::Lost(lost.clone()).fmt(f),
        }
    }
}

/// Undoes what a damaged record, the result cache, the cluster and the default network tell of a
/// container that is being added again. The caller holds the container's turn.
///
/// # Errors
/// [`Error::Attached`] if an attachment that the record still names is in use; [`Error::Ledger`] if
/// the record cannot be set aside.
pub(super) async fn before_add(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    damage: Damage,
) -> Result<(), Error> {
    let sandbox = request.sandbox();
    let mut entries = readable(pipeline, dirs, &sandbox.container_id, &damage).await;
    if !pipeline.retries.has(&dirs.cni, &sandbox.container_id) {
        for entry in &entries {
            if undo::is_living(pipeline, dirs, entry).await {
                return Err(Error::Attached(sandbox.container_id));
            }
        }
    }
    let is_missing = |known: &[Entry], entry: &Entry| {
        let is_it = |one: &Entry| one.if_name == entry.if_name;
        !known.iter().any(is_it)
    };
    let is_pending = pipeline.retries.has(&dirs.cni, &sandbox.container_id);
    for entry in cluster_entries::likely(pipeline, request).await {
        if is_missing(&entries, &entry) {
            // A second ADD: the first one's record and results are both unreadable.
            if !is_pending && undo::is_living(pipeline, dirs, &entry).await {
                return Err(Error::Attached(sandbox.container_id));
            }
            entries.push(entry);
        }
    }
    discard(pipeline, dirs, &sandbox, damage, &entries).await
}

/// Undoes `known`, the attachments of an earlier boot that are readable beside a damaged record.
/// The caller holds the container's turn.
///
/// # Errors
/// [`Error::Ledger`] if the record cannot be set aside.
pub(super) async fn of_earlier_boot(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    damage: Damage,
    known: &[Entry],
) -> Result<(), Error> {
    let sandbox = Sandbox::recorded(container.clone());
    discard(pipeline, dirs, &sandbox, damage, known).await
}

/// The attachments that can still be read, each in its own namespace.
pub(super) async fn readable(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
    damage: &Damage,
) -> Vec<Entry> {
    if let Damage::Results { known, .. } = damage {
        return known.clone();
    }
    let sandbox = Sandbox::recorded(container.clone());
    let results = pipeline.ports.ledger.results(&dirs.cni, &sandbox).await;
    results.unwrap_or_default()
}

/// Undoes `entries`, gives up those that fail, and sets the damaged files aside.
async fn discard(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
    damage: Damage,
    entries: &[Entry],
) -> Result<(), Error> {
    let container = &sandbox.container_id;
    tracing::error!(
        %container,
        pod = %sandbox.pod,
        error = %damage,
        attachments = entries.len(),
        "the container's record is damaged; undoing its known attachments, others may be left on the node"
    );
    let left = undo::detach_each(pipeline, dirs, sandbox, entries).await;
    for one in &left {
        one.give_up(pipeline);
    }
    if let Damage::Results { lost, .. } = &damage {
        pipeline.ports.ledger.set_aside(&dirs.cni, lost).await;
    }
    for entry in entries {
        pipeline
            .ports
            .ledger
            .forget_result(&dirs.cni, entry)
            .await?;
    }
    pipeline
        .ports
        .ledger
        .set_plan_aside(&dirs.cni, container)
        .await;
    pipeline
        .ports
        .ledger
        .forget_deferred(&dirs.cni, container)
        .await?;
    undo::forget(pipeline, dirs, container, undo::Extent::Whole).await
}
