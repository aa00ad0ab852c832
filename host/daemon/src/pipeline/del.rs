//! DEL: a pod loses its networks. Needs neither the cluster nor anybody's consent; goes on past
//! errors, and what could not be undone stays in the ledger.

use cni_types::args::Command;

use super::{Error, Pipeline};
use crate::config::net_conf::NetConf;
use crate::domain::entry::Entry;
use crate::stages::request::PodRequest;

/// Detaches everything that is recorded for the container. Of a container that is not known there
/// is nothing to do.
pub(super) async fn del(pipeline: &Pipeline, request: PodRequest) -> Result<(), Error> {
    let _turn = pipeline.turns.take_over(&request.container_id).await;
    let conf = &request.conf;
    let sandbox = request.sandbox();
    let Some(entries) = pipeline.ledger.load(&conf.cni_dir, &sandbox).await? else {
        return Ok(());
    };
    let mut policies = pipeline.policies.begin(Command::Del, &sandbox, None);
    let mut errors = Vec::new();
    for entry in entries.iter().rev() {
        policies.del(entry).await;
        if let Err(error) = detach(pipeline, conf, entry).await {
            errors.push(error);
        }
    }
    if errors.is_empty() {
        pipeline
            .ledger
            .forget(&conf.cni_dir, &request.container_id)
            .await?;
        return Ok(());
    }
    for error in &errors {
        tracing::error!(container = %request.container_id, %error, "not undone");
    }
    Err(match errors.pop() {
        Some(only) if errors.is_empty() => only,
        Some(last) => {
            errors.push(last);
            Error::Several(errors)
        }
        None => Error::NotAttached(request.container_id),
    })
}

/// Undoes one attachment and forgets its result.
pub(super) async fn detach(
    pipeline: &Pipeline,
    conf: &NetConf,
    entry: &Entry,
) -> Result<(), Error> {
    pipeline.delegates.del(&conf.bin_dirs, entry).await?;
    pipeline.ledger.forget_result(&conf.cni_dir, entry).await?;
    Ok(())
}
