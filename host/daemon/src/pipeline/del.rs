//! DEL: a pod loses its networks. Needs neither the cluster nor anybody's consent; goes on past
//! errors, and what could not be undone stays in the ledger.

use std::path::{Path, PathBuf};

use cni_types::args::Command;

use super::{Error, Pipeline};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::stages::request::PodRequest;

/// Detaches everything that is recorded for the container. Of a container that is not known there
/// is nothing to do.
pub(super) async fn del(pipeline: &Pipeline, request: PodRequest) -> Result<(), Error> {
    let _turn = pipeline.turns.take_over(&request.container_id).await;
    let conf = &request.conf;
    let undone = sandbox(pipeline, &conf.cni_dir, &conf.bin_dirs, &request.sandbox()).await;
    if let Err(error) = &undone {
        pipeline
            .unfinished
            .add(pipeline, conf, &request.container_id, error)
            .await;
    }
    undone
}

/// Detaches everything that is recorded for a sandbox. The caller has its turn.
pub(super) async fn sandbox(
    pipeline: &Pipeline,
    cni_dir: &Path,
    bin_dirs: &[PathBuf],
    sandbox: &Sandbox,
) -> Result<(), Error> {
    let Some(entries) = pipeline.ledger.load(cni_dir, sandbox).await? else {
        return Ok(());
    };
    let mut policies = pipeline.policies.begin(Command::Del, sandbox, None);
    let mut errors = Vec::new();
    for entry in entries.iter().rev() {
        policies.del(entry).await;
        if let Err(error) = detach(pipeline, cni_dir, bin_dirs, entry).await {
            tracing::error!(container = %sandbox.container_id, error = crate::report::chain(&error), "not undone");
            errors.push(error);
        }
    }
    match Error::of_all(errors) {
        Some(error) => Err(error),
        None => Ok(pipeline
            .ledger
            .forget(cni_dir, &sandbox.container_id)
            .await?),
    }
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
