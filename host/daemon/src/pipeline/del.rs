//! DEL: a pod loses its networks. Needs neither the cluster nor anybody's consent; goes on past
//! errors, and what could not be undone stays in the ledger. Only of a damaged ledger the cluster is
//! asked what was there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_types::args::Command;

use super::{Error, Pipeline};
use crate::config::net_conf::NetConf;
use crate::domain::entry::{self, Entry};
use crate::domain::sandbox::Sandbox;
use crate::ports::{LedgerError, Lost};
use crate::stages::request::PodRequest;
use crate::stages::{identity, resolve};

/// Detaches everything that is recorded for the container. Of a container that is not known, or is
/// attached by another interface than the one that is asked for, there is nothing to do.
pub(super) async fn del(pipeline: &Pipeline, request: PodRequest) -> Result<(), Error> {
    let _turn = pipeline.turns.take_over(&request.container_id).await;
    let NetConf {
        cni_dir, bin_dirs, ..
    } = &*request.conf;
    let recorded = pipeline.ledger.load(cni_dir, &request.sandbox()).await;
    if let Ok(Some(entries)) = &recorded
        && !entry::are_behind(entries, &request.if_name)
    {
        tracing::warn!(container = %request.container_id, interface = %request.if_name, "no attachment of this interface: nothing to undo");
        return Ok(());
    }
    let undone = undo(pipeline, &request, recorded).await;
    match &undone {
        Err(error) => {
            pipeline
                .unfinished
                .add(pipeline, cni_dir, bin_dirs, &request.container_id, error)
                .await;
            undone
        }
        Ok(()) => Ok(pipeline
            .ledger
            .forget_deferred(cni_dir, &request.container_id)
            .await?),
    }
}

/// Detaches what is recorded or, where that is damaged, what the cluster tells. The caller has the
/// container's turn.
pub(super) async fn undo(
    pipeline: &Pipeline,
    request: &PodRequest,
    recorded: Result<Option<Vec<Entry>>, LedgerError>,
) -> Result<(), Error> {
    let conf = &request.conf;
    let entries = match recorded {
        Ok(Some(entries)) => entries,
        Ok(None) => return Ok(()),
        Err(damaged @ LedgerError::Damaged { .. }) => {
            let Some(entries) = told_by_cluster(pipeline, request).await else {
                return Err(damaged.into());
            };
            // So that it is tried again with these, and the damaged file is there to be looked at.
            // It can be undone without.
            if let Err(error) = pipeline.ledger.restore(&conf.cni_dir, &entries).await {
                tracing::error!(error = crate::report::chain(&error), "not put in place");
            }
            entries
        }
        Err(LedgerError::Lost { known, lost }) => {
            return without(pipeline, request, known, lost).await;
        }
        Err(error) => return Err(error.into()),
    };
    let (cni_dir, bin_dirs) = (&conf.cni_dir, &conf.bin_dirs);
    detach_all(pipeline, cni_dir, bin_dirs, &request.sandbox(), &entries).await
}

/// Detaches what is `known` and what the cluster tells of what is `lost`. Where that is not all, the
/// sandbox stays in the ledger.
async fn without(
    pipeline: &Pipeline,
    request: &PodRequest,
    mut known: Vec<Entry>,
    mut lost: Vec<Lost>,
) -> Result<(), Error> {
    let NetConf {
        cni_dir, bin_dirs, ..
    } = &*request.conf;
    let mut told = told_by_cluster(pipeline, request).await.unwrap_or_default();
    told.retain(|entry| lost.iter().any(|one| one.is(entry)));
    lost.retain(|one| !told.iter().any(|entry| one.is(entry)));
    let sandbox = request.sandbox();
    if lost.is_empty() {
        // From here on the plan tells all, and the damaged files are not needed.
        let mut all = known.clone();
        all.extend(told.iter().cloned());
        pipeline.ledger.record(cni_dir, &all).await?;
        for entry in &mut told {
            pipeline.ledger.recall(cni_dir, entry).await?;
        }
        return detach_all(pipeline, cni_dir, bin_dirs, &sandbox, &all).await;
    }
    known.extend(told);
    detach_known(pipeline, cni_dir, bin_dirs, &sandbox, &known, lost).await
}

/// Detaches what is known of a sandbox of which something is lost, and says what is.
async fn detach_known(
    pipeline: &Pipeline,
    cni_dir: &Path,
    bin_dirs: &[PathBuf],
    sandbox: &Sandbox,
    known: &[Entry],
    lost: Vec<Lost>,
) -> Result<(), Error> {
    let mut errors = detach_each(pipeline, cni_dir, bin_dirs, sandbox, known).await;
    let known = Vec::new();
    errors.push(LedgerError::Lost { known, lost }.into());
    Error::of_all(errors).map_or(Ok(()), Err)
}

/// Detaches everything that is recorded for a sandbox. The caller has its turn.
pub(super) async fn sandbox(
    pipeline: &Pipeline,
    cni_dir: &Path,
    bin_dirs: &[PathBuf],
    sandbox: &Sandbox,
) -> Result<(), Error> {
    match pipeline.ledger.load(cni_dir, sandbox).await {
        Ok(Some(entries)) => detach_all(pipeline, cni_dir, bin_dirs, sandbox, &entries).await,
        Ok(None) => Ok(()),
        Err(LedgerError::Lost { known, lost }) => {
            detach_known(pipeline, cni_dir, bin_dirs, sandbox, &known, lost).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What an ADD of now would add: of a damaged ledger nothing better is left. `None` where the pod is
/// gone, is another one by now, or names what is not there.
async fn told_by_cluster(pipeline: &Pipeline, request: &PodRequest) -> Option<Vec<Entry>> {
    let cluster = &*pipeline.cluster;
    let (sandbox, pod) = identity::identify(request, cluster, Duration::ZERO)
        .await
        .ok()?;
    let selections = resolve::selections(&pod).ok()?;
    let plan = resolve::resolve(&request.conf, sandbox, &pod, selections, pipeline.lookups())
        .await
        .ok()?;
    tracing::warn!(container = %request.container_id, pod = %plan.sandbox.pod, "damaged ledger: undoing what the pod asks for now");
    let entries = plan
        .attachments
        .iter()
        .map(|one| Entry::new(one, &plan.sandbox));
    entries.collect::<Result<_, _>>().ok()
}

/// Detaches these, last one first, and then forgets the sandbox.
async fn detach_all(
    pipeline: &Pipeline,
    cni_dir: &Path,
    bin_dirs: &[PathBuf],
    sandbox: &Sandbox,
    entries: &[Entry],
) -> Result<(), Error> {
    let errors = detach_each(pipeline, cni_dir, bin_dirs, sandbox, entries).await;
    match Error::of_all(errors) {
        Some(error) => Err(error),
        None => Ok(pipeline
            .ledger
            .forget(cni_dir, &sandbox.container_id)
            .await?),
    }
}

/// Detaches these, last one first; goes on past errors and gives them.
async fn detach_each(
    pipeline: &Pipeline,
    cni_dir: &Path,
    bin_dirs: &[PathBuf],
    sandbox: &Sandbox,
    entries: &[Entry],
) -> Vec<Error> {
    let mut policies = pipeline.policies.begin(Command::Del, sandbox, None);
    let mut errors = Vec::new();
    for entry in entries.iter().rev() {
        policies.del(entry).await;
        if let Err(error) = detach(pipeline, cni_dir, bin_dirs, entry).await {
            tracing::error!(container = %sandbox.container_id, error = crate::report::chain(&error), "not undone");
            errors.push(error);
        }
    }
    errors
}

/// Undoes one attachment and forgets its result.
pub(super) async fn detach(
    pipeline: &Pipeline,
    cni_dir: &Path,
    bin_dirs: &[PathBuf],
    entry: &Entry,
) -> Result<(), Error> {
    pipeline.delegates.del(bin_dirs, entry).await?;
    pipeline.ledger.forget_result(cni_dir, entry).await?;
    Ok(())
}
