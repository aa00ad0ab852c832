//! DELs that succeed before their delegates finish. Once the namespace is gone, a persisted retry
//! is as good as a DEL: whatever the running delegates do, the attachments will be undone.

use std::sync::Arc;

use super::dirs::Dirs;
use super::pod_netns::{is_apart, is_gone, is_there};
use super::{Error, Pipeline, deferred, deletion};
use crate::domain::entry::{self, Entry};
use crate::ports::{LedgerError, Recorded};
use crate::stages::request::PodRequest;

/// Whether a DEL may succeed although its delegates are still running. Persists that everything in
/// the ledger is to be undone, or the DEL itself if nothing records its container. Needs no turn.
pub(super) async fn can_be_given(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
) -> bool {
    let sandbox = request.sandbox();
    let container = &sandbox.container_id;
    match pipeline.ports.ledger.find(&dirs.cni, &sandbox).await {
        Ok(Recorded::Whole(entries)) => {
            entry::are_behind(&entries, &request.if_name)
                && are_gone(pipeline, dirs, &entries).await
                && pipeline
                    .retries
                    .ensure_undo(pipeline, dirs, container, &entries)
                    .await
        }
        Ok(Recorded::Nothing) => match pipeline.ports.ledger.results(&dirs.cni, &sandbox).await {
            Ok(results) if !results.is_empty() => {
                deletion::reaches_all(request, &results)
                    && are_gone(pipeline, dirs, &results).await
                    && pipeline
                        .retries
                        .ensure_undo(pipeline, dirs, container, &results)
                        .await
            }
            Ok(_) => {
                is_gone(pipeline, dirs, container, sandbox.netns.as_deref()).await
                    && deferred::record(pipeline, dirs, request).await
            }
            Err(_) => false,
        },
        // What the record lacks is unknown: the retry undoes all that there is then.
        Ok(Recorded::Partial { known, .. }) => {
            deletion::reaches_all(request, &known)
                && are_gone(pipeline, dirs, &known).await
                && is_gone(pipeline, dirs, container, sandbox.netns.as_deref()).await
                && pipeline
                    .retries
                    .ensure_undo(pipeline, dirs, container, &[])
                    .await
        }
        Err(LedgerError::Damaged { .. }) => {
            deletion::reaches_all(request, &[])
                && is_gone(pipeline, dirs, container, sandbox.netns.as_deref()).await
                && pipeline
                    .retries
                    .ensure_undo(pipeline, dirs, container, &[])
                    .await
        }
        Err(_) => false,
    }
}

/// The answer of a DEL that reached its deadline. For an unknown container it is success, and the
/// DEL is recorded.
pub(super) async fn late(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    late: Error,
) -> Result<(), Error> {
    let sandbox = request.sandbox();
    let recorded = pipeline.ports.ledger.load(&dirs.cni, &sandbox).await;
    let results = pipeline.ports.ledger.results(&dirs.cni, &sandbox).await;
    match (recorded, results) {
        (Ok(None), Ok(results)) if results.is_empty() => {
            deferred::record(pipeline, dirs, request).await;
            Ok(())
        }
        _ => Err(late),
    }
}

async fn are_gone(pipeline: &Pipeline, dirs: &Dirs, entries: &[Entry]) -> bool {
    for entry in entries {
        if is_there(pipeline, dirs, entry).await || is_apart(pipeline, entry).await {
            return false;
        }
    }
    true
}
