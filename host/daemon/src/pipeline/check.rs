//! CHECK: every attachment is still as ADD left it. Stops at the first that is not.

use cni_types::args::Command;

use super::{Error, Pipeline};
use crate::domain::entry;
use crate::stages::request::PodRequest;

/// Checks everything that is recorded for the container.
pub(super) async fn check(pipeline: &Pipeline, request: PodRequest) -> Result<(), Error> {
    let _turn = pipeline.turns.take(&request.container_id).await;
    let conf = &request.conf;
    let sandbox = request.sandbox();
    let container = &request.container_id;
    let is_deleted = pipeline
        .ledger
        .deferred_del(&conf.cni_dir, container)
        .await?;
    let recorded = match is_deleted {
        Some(_) => None,
        None => pipeline.ledger.load(&conf.cni_dir, &sandbox).await?,
    };
    let Some(entries) = recorded.filter(|entries| entry::are_behind(entries, &request.if_name))
    else {
        return Err(Error::NotAttached(request.container_id));
    };
    let mut policies = pipeline.policies.begin(Command::Check, &sandbox, None);
    for entry in &entries {
        pipeline.delegates.check(&conf.bin_dirs, entry).await?;
        policies.check(entry).await?;
    }
    Ok(())
}
