//! Forgets attachments that cannot be undone, at the operator's request.

use std::path::PathBuf;
use std::sync::Arc;

use cni_types::args::{ContainerId, IfName};

use super::dirs::Dirs;
use super::limits::{after, turn_by};
use super::turns::Work;
use super::{Error, Pipeline, giving_up, undone};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{LedgerError, Recorded};

/// Forgets a container, or one of its interfaces, without undoing anything. Returns the forgotten
/// attachments.
///
/// # Errors
/// [`Error::NotAttached`] if nothing is recorded; [`Error::Busy`] if the container's turn is not free
/// for a while; [`Error::Ledger`].
pub(super) async fn forget(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    if_name: Option<&IfName>,
) -> Result<Vec<Entry>, Error> {
    // Nothing is forgotten beside a delegate that runs: it may still change what is recorded. The
    // delegate ends at its own deadline at the latest.
    let patience = pipeline.timeouts.background();
    // Cancels nothing: what it would cancel is at work.
    let turn = pipeline.turns.take(container, Work::Forget);
    let held = turn_by(pipeline, after(patience), patience, container, turn).await?;
    // A recorded DEL would run the delegates that the operator gives up.
    let _turn = held.leaving_records();
    let sandbox = Sandbox::recorded(container.clone());
    let (entries, mut lost) = match pipeline.ports.ledger.find(&dirs.cni, &sandbox).await {
        Ok(Recorded::Whole(entries)) => (entries, Vec::new()),
        Ok(Recorded::Nothing) => {
            // Attachments known only from the result cache are listed as well.
            let results = pipeline.ports.ledger.results(&dirs.cni, &sandbox).await?;
            if results.is_empty() {
                return Err(Error::NotAttached(container.clone()));
            }
            (results, Vec::new())
        }
        Ok(Recorded::Partial { known, lost }) => (known, lost),
        // Of an unreadable file only the container id is known, and what results can be read.
        Err(LedgerError::Damaged { .. }) if if_name.is_none() => {
            let results = pipeline.ports.ledger.results(&dirs.cni, &sandbox).await;
            (results.unwrap_or_default(), Vec::new())
        }
        Err(error) => return Err(error.into()),
    };
    let is_meant = |entry: &Entry| if_name.is_none_or(|name| entry.if_name == *name);
    let (meant, staying): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_meant);
    lost.retain(|one| if_name.is_none_or(|name| one.if_name == name.as_str()));
    if meant.is_empty() && lost.is_empty() && if_name.is_some() {
        return Err(Error::NotAttached(container.clone()));
    }
    if !staying.iter().any(|entry| entry.is_default) {
        // Its DEL must not try again.
        undone::forgotten(pipeline, dirs, container).await;
    }
    pipeline.ports.ledger.set_aside(&dirs.cni, &lost).await;
    for entry in &meant {
        pipeline
            .ports
            .ledger
            .forget_result(&dirs.cni, entry)
            .await?;
    }
    if staying.is_empty() {
        pipeline.ports.ledger.forget(&dirs.cni, container).await?;
        let others = holding(pipeline, container, None).await;
        if others.iter().all(|dir| *dir == *dirs.cni) {
            pipeline.ports.policies.release(container).await;
        }
        pipeline.retries.cancel(dirs, container);
        let ledger = &pipeline.ports.ledger;
        ledger.forget_deferred(&dirs.cni, container).await?;
    } else {
        pipeline.ports.ledger.record(&dirs.cni, &staying).await?;
        let retries = &pipeline.retries;
        retries.release(pipeline, dirs, container, &staying).await;
    }
    for entry in &meant {
        giving_up::give_up(pipeline, entry, "an operator had it forgotten");
    }
    Ok(meant)
}

/// The directories that have a container or, if one is given, an interface of it.
pub(super) async fn holding(
    pipeline: &Pipeline,
    container: &ContainerId,
    if_name: Option<&IfName>,
) -> Vec<PathBuf> {
    let (ledger, sandbox) = (&pipeline.ports.ledger, Sandbox::recorded(container.clone()));
    let mut holding = Vec::new();
    for dirs in pipeline.directories.all() {
        let entries = match ledger.load(&dirs.cni, &sandbox).await {
            Ok(Some(entries)) => Ok(entries),
            Ok(None) => ledger.results(&dirs.cni, &sandbox).await,
            Err(error) => Err(error),
        };
        let has_it = match entries {
            Ok(entries) => entries
                .iter()
                .any(|entry| if_name.is_none_or(|name| entry.if_name == *name)),
            // What is damaged may be it.
            Err(error) => !matches!(error, LedgerError::Io { .. }),
        };
        if has_it {
            holding.push(dirs.cni.to_path_buf());
        }
    }
    holding
}
