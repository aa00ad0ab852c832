//! CHECK: verifies that every attachment is as ADD left it. Stops at the first failure.

use std::future::Future;
use std::sync::Arc;

use cni_types::args::{Command, ContainerId};
use shim_api::deferred::split_file_name;

use super::dirs::Dirs;
use super::limits::Limits;
use super::{Error, Pipeline, pod_netns, undo};
use crate::domain::entry;
use crate::ports::DeferredDel;
use crate::stages::request::PodRequest;

/// Checks everything recorded for the container.
pub(super) async fn check(pipeline: &Arc<Pipeline>, request: PodRequest) -> Result<(), Error> {
    let container = request.container_id.clone();
    in_turn(pipeline, &container, all(pipeline, request)).await
}

/// Runs `checks` with the container's turn until the request's deadline or a DEL; their delegates,
/// which change nothing, are then killed.
pub(super) async fn in_turn(
    pipeline: &Pipeline,
    container: &ContainerId,
    checks: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let ticket = pipeline.turns.ticket_of_check(container);
    let mut limits = Limits::new(&ticket, pipeline.timeouts.stop());
    let _turn = limits.turn(pipeline, ticket).await?;
    limits.apply(checks).await
}

async fn all(pipeline: &Pipeline, request: PodRequest) -> Result<(), Error> {
    let conf = &request.conf;
    let sandbox = request.sandbox();
    let container = &request.container_id;
    let deleted = pipeline
        .ports
        .ledger
        .deferred_dels(&conf.cni_dir, container)
        .await?;
    let is_its = |one: &DeferredDel| {
        let if_name = split_file_name(&one.name).1;
        if_name.is_none_or(|name| name == request.if_name.as_str())
    };
    let recorded = match deleted.iter().any(is_its) {
        true => None,
        false => pipeline.ports.ledger.load(&conf.cni_dir, &sandbox).await?,
    };
    let Some(entries) = recorded.filter(|entries| entry::are_behind(entries, &request.if_name))
    else {
        return Err(Error::NotAttached(request.container_id));
    };
    let sandbox = sandbox.with_pod_of(&entries);
    let mut policies = pipeline
        .ports
        .policies
        .begin(Command::Check, &sandbox, None);
    let dirs = Dirs::of(conf);
    // If everything is pending undo, nothing is attached.
    if entries
        .iter()
        .all(|entry| undo::is_leftover(pipeline, &dirs, entry))
    {
        return Err(Error::NotAttached(request.container_id));
    }
    for entry in &entries {
        if undo::is_leftover(pipeline, &dirs, entry) {
            continue;
        }
        if entry.namespace.is_some() && !pod_netns::is_there(pipeline, &dirs, entry).await {
            return Err(Error::NamespaceGone(request.container_id));
        }
        match pipeline.ports.delegates.check(&conf.bin_dirs, entry).await {
            // The daemon exited during its hot-plug: it may never have been made.
            Err(error) if entry.is_doubtful() && !entry.is_default => tracing::warn!(
                container = %entry.container_id,
                network = entry.network,
                interface = %entry.if_name,
                error = crate::report::chain(&error),
                "CHECK of a hot-plugged attachment without a result failed; ignored, because it may never have been made"
            ),
            checked => checked?,
        }
        policies.check(entry).await?;
    }
    Ok(())
}
