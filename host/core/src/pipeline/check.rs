//! CHECK: verifies that every attachment is as ADD left it. Stops at the first failure.

use std::future::Future;
use std::sync::Arc;

use cni_types::args::Command;

use super::dirs::Dirs;
use super::limits::Limits;
use super::{Error, Pipeline, deferred, pod_netns, undo};
use crate::domain::entry;
use crate::spans::{attachment, stage};
use crate::stages::request::PodRequest;

/// Checks everything recorded for the container.
pub(super) async fn check(pipeline: &Arc<Pipeline>, request: PodRequest) -> Result<(), Error> {
    in_turn(pipeline, &request, all(pipeline, &request)).await
}

/// Runs `checks` with the container's turn until the request's deadline or a DEL; their delegates,
/// which change nothing, are then killed.
pub(super) async fn in_turn(
    pipeline: &Arc<Pipeline>,
    request: &PodRequest,
    checks: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let container = &request.container_id;
    let dirs = Dirs::of(&request.conf);
    let ticket = pipeline.turns.ticket_of_check(container, &request.if_name);
    let mut limits = Limits::new(&ticket, pipeline.timeouts.stop());
    let held = stage("turn", limits.turn(pipeline, ticket)).await?;
    limits
        .apply(async {
            let _turn = deferred::settled(pipeline, &dirs, container, held).await?;
            checks.await
        })
        .await
}

async fn all(pipeline: &Pipeline, request: &PodRequest) -> Result<(), Error> {
    let conf = &request.conf;
    let sandbox = request.sandbox();
    let recorded = pipeline.ports.ledger.load(&conf.cni_dir, &sandbox);
    let recorded = stage("ledger", recorded).await?;
    let Some(entries) = recorded.filter(|entries| entry::are_behind(entries, &request.if_name))
    else {
        return Err(Error::NotAttached(request.container_id.clone()));
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
        return Err(Error::NotAttached(request.container_id.clone()));
    }
    for entry in &entries {
        if undo::is_leftover(pipeline, &dirs, entry) {
            continue;
        }
        if entry.namespace.is_some() && !pod_netns::is_there(pipeline, &dirs, entry).await {
            return Err(Error::NamespaceGone(request.container_id.clone()));
        }
        let subject = (entry.network.as_str(), entry.if_name.as_str());
        let checked = pipeline.ports.delegates.check(&conf.bin_dirs, entry);
        match attachment("check", subject, checked).await {
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
