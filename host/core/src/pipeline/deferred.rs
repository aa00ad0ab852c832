//! Recorded DELs: DELs that came while the daemon was down, or were answered before they were carried
//! out. Each is carried out before any other work on its container, and only then removed; one that
//! fails is retried like any other DEL.
//! [`settle`] is the way from a container's turn to work on it.

use std::path::Path;
use std::sync::Arc;

use cni_types::args::ContainerId;
use futures_util::StreamExt as _;
use shim_api::deferred::{Record, boot_id, file_name, split_file_name};

use super::dirs::Dirs;
use super::limits::{after, patiently};
use super::turns::{Held, Turn, Work};
use super::{Error, Pipeline, deletion, directories, pod_netns, undo};
use crate::domain::entry::Entry;
use crate::domain::namespace::Namespace;
use crate::domain::sandbox::Sandbox;
use crate::ports::{DeferredDel, Recorded};
use crate::stages::deferred;
use crate::stages::request::PodRequest;
use crate::supervision;

/// How many recorded DELs are carried out concurrently.
const AT_ONCE: usize = 8;

/// Carries out the recorded DELs and, if `may_come`, watches for new ones indefinitely.
pub(super) async fn run(pipeline: &Arc<Pipeline>, cni_dir: &Path, may_come: bool) {
    let dirs = pipeline.dirs_of(cni_dir);
    loop {
        // Before listing, so that no DEL is missed in between.
        let changed = pipeline.ports.ledger.deferred_changed(cni_dir);
        carry_out_all(pipeline, &dirs).await;
        if !may_come {
            return;
        }
        if let Err(error) = changed.await {
            tracing::info!(
                dir = %cni_dir.display(),
                error = crate::report::chain(&error),
                "not watching for recorded DELs; the next daemon carries out new ones"
            );
            return;
        }
    }
}

/// Carries out every recorded DEL that has no retry scheduled. Failures are retried.
pub(super) async fn carry_out_all(pipeline: &Arc<Pipeline>, dirs: &Dirs) {
    let containers = match pipeline.ports.ledger.deferred(&dirs.cni).await {
        Ok(containers) => containers,
        Err(error) => {
            tracing::error!(
                dir = %dirs.cni.display(),
                error = crate::report::chain(&error),
                "cannot list the recorded DELs; each waits for a request for its container"
            );
            return;
        }
    };
    // A hanging delegate must not block other containers.
    futures_util::stream::iter(containers)
        .for_each_concurrent(AT_ONCE, |container| async move {
            // A running DEL removes the records itself.
            if pipeline.retries.has(&dirs.cni, &container) || pipeline.turns.is_deleting(&container)
            {
                return;
            }
            let soon = after(pipeline.timeouts.background());
            let turn = pipeline.turns.take(&container, Work::Deferred);
            let taken = tokio::time::timeout_at(soon, turn).await;
            let Ok(held) = taken else {
                // The holder of the turn carries it out, or leaves it for the next pass.
                return;
            };
            let (pipeline, dirs) = (Arc::clone(pipeline), dirs.clone());
            let work = async move {
                let (turn, settled) = settle(&pipeline, &dirs, &container, held).await;
                if let Err(error) = settled {
                    keep(&pipeline, &dirs, &container, &error).await;
                }
                drop(turn);
            };
            patiently(soon, work).await;
        })
        .await;
}

/// Records a DEL of an unknown container before it succeeds without being carried out: the next
/// daemon carries it out if this one does not. Returns whether it is recorded.
pub(super) async fn record(pipeline: &Arc<Pipeline>, dirs: &Dirs, request: &PodRequest) -> bool {
    let container = &request.container_id;
    let Some(sent) = request.sent.as_deref() else {
        return false;
    };
    let netns = request.netns.as_deref();
    // Another namespace may be at the path by now.
    let netns = match pod_netns::is_gone(pipeline, dirs, container, netns).await {
        true => None,
        false => netns,
    };
    let netns = match netns {
        Some(netns) => pipeline.ports.pod_network.identity(Path::new(netns)).await,
        None => None,
    };
    let record = Record {
        boot_id: boot_id(),
        netns,
        request: sent.clone(),
    };
    let record = DeferredDel {
        name: file_name(container.as_str(), request.if_name.as_str()),
        text: record.to_json(),
    };
    if let Err(error) = pipeline.ports.ledger.defer(&dirs.cni, &record).await {
        tracing::warn!(
            %container,
            error = crate::report::chain(&error),
            "cannot record a DEL whose delegates hang; it is lost if the daemon is killed"
        );
        return false;
    }
    // The DEL may not have had the container's turn, or fail.
    let (pipeline, dirs, container) = (Arc::clone(pipeline), dirs.clone(), container.clone());
    let carrying_out = async move {
        let held = pipeline.turns.take(&container, Work::Deferred).await;
        let (_turn, settled) = settle(&pipeline, &dirs, &container, held).await;
        if let Err(error) = settled {
            keep(&pipeline, &dirs, &container, &error).await;
        }
    };
    tokio::spawn(supervision::once("recorded DEL", carrying_out));
    true
}

/// Has the recorded DEL of a container retried, because it failed with `error`.
pub(super) async fn keep(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    error: &Error,
) {
    let retries = &pipeline.retries;
    let error = crate::report::chain(error);
    tracing::error!(
        %container,
        error,
        "a recorded DEL failed; the daemon retries"
    );
    if !retries.has(&dirs.cni, container) {
        retries
            .keep(pipeline, dirs, container, Vec::new(), &[], error)
            .await;
    }
}

/// Takes up a container's turn: carries out its recorded DELs first, in `dirs` and in the other
/// directories. Returns the turn, which is held in any case, and whether there were any; or the
/// first error. For a damaged record, the delegates of its directory are used.
pub(super) async fn settle(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    held: Held,
) -> (Turn, Result<bool, Error>) {
    let turn = held.leaving_records();
    let mut settled = carry_out(pipeline, dirs, container).await;
    for other in pipeline.directories.besides(dirs) {
        match carry_out(pipeline, &other, container).await {
            Ok(is_done) => settled = settled.map(|is_any| is_any || is_done),
            // Its own runtime's requests fail; those of another one go on.
            Err(Error::Ledger(error)) => tracing::error!(
                %container,
                dir = %other.cni.display(),
                error = crate::report::chain(&error),
                "cannot read the recorded DELs in another cniDir; they wait until it can be read"
            ),
            Err(error) => settled = settled.and(Err(error)),
        }
    }
    (turn, settled)
}

/// As [`settle`], for work that does not begin if a recorded DEL failed.
pub(super) async fn settled(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    held: Held,
) -> Result<Turn, Error> {
    let (turn, settled) = settle(pipeline, dirs, container, held).await;
    settled.map(|_| turn)
}

/// Removes the container's records, because a DEL has done what they say. A record that stays does
/// not fail that DEL: it is carried out again, which is harmless.
pub(super) async fn forget(pipeline: &Pipeline, dirs: &Dirs, container: &ContainerId) {
    let ledger = &pipeline.ports.ledger;
    for dirs in pipeline.directories.besides(dirs).iter().chain([dirs]) {
        if let Err(error) = ledger.forget_deferred(&dirs.cni, container).await {
            tracing::warn!(
                %container,
                dir = %dirs.cni.display(),
                error = crate::report::chain(&error),
                "cannot remove a recorded DEL that was carried out; carrying it out again is harmless"
            );
        }
    }
}

/// Carries out the container's recorded DELs in one directory and returns whether there were any
/// for the container's own interface. Continues past errors and returns the first.
async fn carry_out(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
) -> Result<bool, Error> {
    let ledger = &pipeline.ports.ledger;
    let records = ledger.deferred_dels(&dirs.cni, container).await?;
    let (mut is_any, mut failed) = (false, None);
    for record in &records {
        match undo_record(pipeline, dirs, container, record).await {
            Ok(is_own) => {
                is_any |= is_own;
                ledger.forget_deferred_del(&dirs.cni, record).await?;
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(is_any), Err)
}

/// Returns whether the record is about the container, and not about another interface or namespace.
async fn undo_record(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    record: &DeferredDel,
) -> Result<bool, Error> {
    match request(pipeline, &dirs.cni, container, &record.text).await {
        Ok((mut request, named)) => {
            directories::locate(pipeline, &mut request).await;
            let dirs = Dirs::of(&request.conf);
            if let Some(named) = named
                && deletion::is_recorded_of_another(pipeline, &dirs, &request, &named).await
            {
                return Ok(false);
            }
            let recorded = pipeline
                .ports
                .ledger
                .find(&dirs.cni, &request.sandbox())
                .await;
            if deletion::is_of_another(pipeline, &dirs, &recorded, &request).await {
                return Ok(false);
            }
            deletion::undo_all(pipeline, &dirs, &request, recorded).await?;
        }
        Err(error) => {
            // The file's name identifies the container, which suffices to undo what the ledger
            // knows.
            tracing::error!(
                %container,
                error = crate::report::chain(&error),
                "the record of a DEL is damaged; undoing the container's attachments in the ledger"
            );
            let sandbox = Sandbox {
                netns: Some(String::new()),
                ..Sandbox::recorded(container.clone())
            };
            if let Some(if_name) = split_file_name(&record.name).1 {
                let recorded = pipeline.ports.ledger.find(&dirs.cni, &sandbox).await;
                let is_own = |entry: &Entry| entry.is_default && entry.if_name.as_str() == if_name;
                match recorded {
                    Ok(Recorded::Whole(entries)) if entries.iter().any(is_own) => {}
                    _ => return Ok(false),
                }
            }
            undo::recorded(pipeline, dirs, &sandbox).await?;
        }
    }
    tracing::info!(%container, "carried out a recorded DEL");
    Ok(true)
}

/// The request of a record, and the namespace that it named when it was recorded.
async fn request(
    pipeline: &Pipeline,
    cni_dir: &Path,
    container: &ContainerId,
    text: &[u8],
) -> Result<(PodRequest, Option<Namespace>), deferred::Error> {
    let (mut request, record) =
        deferred::parse(text, container, &pipeline.overlay, pipeline.naming())?;
    let found = match &request.netns {
        Some(netns) => pipeline.ports.pod_network.identity(Path::new(netns)).await,
        None => None,
    };
    if !record.is_still(found) {
        // Ignore the path in the ledger as well.
        request.netns = Some(String::new());
    }
    cni_dir.clone_into(&mut Arc::make_mut(&mut request.conf).cni_dir);
    let named = record.netns.map(|file| Namespace {
        boot_id: record.boot_id,
        file,
        cookie: None,
        added_at: None,
    });
    Ok((request, named))
}
