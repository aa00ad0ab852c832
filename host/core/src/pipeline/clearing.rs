//! Makes way for an ADD: carries out a recorded DEL and undoes what an earlier use of the container
//! id left. Runtimes without a cluster reuse ids, even across a reboot.
//!
//! Two delegates never work on the same attachment: an ADD does not start while an earlier delegate
//! runs. If that one hangs, the ADD does not wait but fails, naming what it would have to wait for.

use std::sync::Arc;

use cni_types::args::ContainerId;

use super::dirs::Dirs;
use super::error::Removing;
use super::limits::{Limits, after, patiently};
use super::pod_netns::is_there;
use super::salvage::Damage;
use super::turns::{Ticket, Turn};
use super::{Error, Pipeline, deferred, giving_up, salvage, undo};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::stages::request::PodRequest;

/// Takes an ADD's turn, with everything from an earlier use of the container id cleared.
pub(super) async fn turn(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &Arc<PodRequest>,
    ticket: Ticket,
    limits: &mut Limits,
) -> Result<Turn, Error> {
    let container = request.container_id.clone();
    let soon = after(pipeline.timeouts.background());
    let turn = limits.turn(pipeline, ticket);
    let turn = match pipeline.retries.has(&dirs.cni, &container) {
        // An undo holds the turn, and may hang.
        true => match tokio::time::timeout_at(soon, turn).await {
            Ok(turn) => turn?,
            Err(_) => return Err(removing(pipeline, dirs, &container)),
        },
        false => turn.await?,
    };
    let clearing = {
        let (pipeline, dirs, request) = (Arc::clone(pipeline), dirs.clone(), Arc::clone(request));
        async move {
            let container = &request.container_id;
            let (turn, settled) = deferred::settle(&pipeline, &dirs, container, turn).await;
            clear(&pipeline, &dirs, &request, settled.map(drop)).await?;
            clear_elsewhere(&pipeline, &dirs, container).await?;
            Ok(turn)
        }
    };
    let cleared = async {
        match patiently(soon, clearing).await {
            Some(cleared) => cleared,
            None => Err(removing(pipeline, dirs, &container)),
        }
    };
    limits.apply(cleared).await
}

/// Why the container cannot be added yet.
fn removing(pipeline: &Pipeline, dirs: &Dirs, container: &ContainerId) -> Error {
    let undo = pipeline.retries.get(&dirs.cni, container);
    let pending = undo.map_or_else(Vec::new, |undo| undo.attachments);
    let tried = pending.iter().find(|one| one.attempts > 0);
    let names = pending
        .iter()
        .map(|one| format!("{} of network {:?}", one.if_name, one.network));
    let names: Vec<String> = names.collect();
    Error::Removing(Removing {
        container: container.clone(),
        attachments: match names.is_empty() {
            true => String::new(),
            false => format!(" ({})", names.join(", ")),
        },
        reason: tried.map_or_else(
            || "its delegates have not finished".to_owned(),
            |one| one.reason.clone(),
        ),
    })
}

/// `settled` is what became of the recorded DELs.
async fn clear(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    settled: Result<(), Error>,
) -> Result<(), Error> {
    let container = &request.container_id;
    let sandbox = Sandbox::recorded(container.clone());
    let entries = match Damage::apart(pipeline.ports.ledger.find(&dirs.cni, &sandbox).await) {
        Ok(Ok(entries)) => entries.unwrap_or_default(),
        // No DEL can do better later.
        Ok(Err(damage)) => return salvage::before_add(pipeline, dirs, request, damage).await,
        Err(error) => return Err(error.into()),
    };
    settled?;
    let unclaimed = unclaimed(pipeline, dirs, &sandbox, &entries).await?;
    if entries.is_empty() && unclaimed.is_empty() {
        // Also on disk, or the next daemon would undo what this ADD makes.
        if pipeline.retries.has(&dirs.cni, container) {
            let retries = &pipeline.retries;
            retries.release(pipeline, dirs, container, &[]).await;
        }
        return Ok(());
    }
    let pending = pipeline.retries.get(&dirs.cni, container);
    let is_pending = |entry: &Entry| {
        let undo = pending.as_ref();
        undo.is_some_and(|undo| undo.attachments.is_empty() || undo.of(entry).is_some())
    };
    let (mut meant, mut hanging) = (Vec::new(), Vec::new());
    // A plan by Multus without its results does not name the namespace.
    for entry in entries.iter().filter(|one| one.netns.is_none()) {
        let here = Entry {
            netns: request.netns.clone(),
            ..entry.clone()
        };
        if !is_pending(entry) && undo::is_living(pipeline, dirs, &here).await {
            return Err(Error::Attached(container.clone()));
        }
    }
    for entry in entries {
        let (is_pending, timed_out) =
            (is_pending(&entry), pipeline.retries.timed_out(dirs, &entry));
        if timed_out || !is_pending {
            match (is_there(pipeline, dirs, &entry).await, is_pending) {
                // A second ADD must fail without side effects: the first one's attachments are in
                // use.
                (true, false) => return Err(Error::Attached(container.clone())),
                (true, true) => return Err(removing(pipeline, dirs, container)),
                (false, _) => {}
            }
        }
        match timed_out {
            true => hanging.push(entry),
            false => meant.push(entry),
        }
    }
    for entry in unclaimed {
        if !is_pending(&entry) && undo::is_living(pipeline, dirs, &entry).await {
            return Err(Error::Attached(container.clone()));
        }
        meant.push(entry);
    }
    if !meant.is_empty()
        && undo::entries_of(pipeline, dirs, &sandbox, &meant, hanging)
            .await
            .is_err()
    {
        return Err(Error::Attached(container.clone()));
    }
    give_up_left(pipeline, dirs, &sandbox).await
}

/// The container's results that its plan does not name, or all of them if it has no plan: the
/// addresses in them are still reserved.
async fn unclaimed(
    pipeline: &Pipeline,
    dirs: &Dirs,
    sandbox: &Sandbox,
    entries: &[Entry],
) -> Result<Vec<Entry>, Error> {
    if !pipeline.traces.may_have(&dirs.cni, &sandbox.container_id) {
        return Ok(Vec::new());
    }
    let mut results = pipeline.ports.ledger.results(&dirs.cni, sandbox).await?;
    results.retain(|result| {
        let is_it = |entry: &Entry| {
            entry.if_name == result.if_name && entry.conf.name() == result.conf.name()
        };
        !entries.iter().any(is_it)
    });
    Ok(results)
}

/// Undoes what an earlier use of the container id left in the other directories. What lives there
/// is in use through another conf.
async fn clear_elsewhere(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
) -> Result<(), Error> {
    let sandbox = Sandbox::recorded(container.clone());
    for other in pipeline.directories.besides(dirs) {
        let Ok(Some(entries)) = pipeline.ports.ledger.load(&other.cni, &sandbox).await else {
            continue;
        };
        let (mut gone, mut living) = (Vec::new(), Vec::new());
        for entry in entries {
            match is_there(pipeline, &other, &entry).await {
                true => living.push(entry),
                false => gone.push(entry),
            }
        }
        if gone.is_empty() {
            continue;
        }
        let is_hanging = |entry: &Entry| pipeline.retries.timed_out(&other, entry);
        let (hanging, gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(is_hanging);
        for entry in &hanging {
            giving_up::discard(pipeline, &other, entry, "the container is attached anew").await;
        }
        for one in undo::detach_each(pipeline, &other, &sandbox, &gone).await {
            one.discard(pipeline, &other).await;
        }
        let undone = match living.is_empty() {
            true => undo::forget(pipeline, &other, container, undo::Extent::Plugged).await,
            false => {
                let rest = (&[][..], living);
                undo::settle(pipeline, &other, container, rest, Vec::new()).await
            }
        };
        undone?;
    }
    Ok(())
}

/// Gives up the leftovers, including those whose delegates timed out before. None of their
/// delegates run any more, and their retries would remove what this ADD makes under the same id.
async fn give_up_left(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    sandbox: &Sandbox,
) -> Result<(), Error> {
    let container = &sandbox.container_id;
    let left: Option<Vec<Entry>> = pipeline.ports.ledger.load(&dirs.cni, sandbox).await?;
    for entry in left.iter().flatten() {
        let undo = pipeline.retries.get(&dirs.cni, container);
        let undo = undo.as_ref().and_then(|undo| undo.of(entry));
        let reason = undo.map_or("the container is attached anew", |one| &one.reason);
        giving_up::discard(pipeline, dirs, entry, reason).await;
    }
    match left {
        Some(_) => undo::forget(pipeline, dirs, container, undo::Extent::Whole).await,
        None => Ok(()),
    }
}
