//! DELs that are answered before their delegates have finished. Once the namespace is gone, a recorded
//! retry is as good as a DEL: whatever becomes of the delegates, the attachments are going to be undone.

use super::dirs::Dirs;
use super::place::{is_gone, is_there};
use super::{Error, Pipeline};
use crate::domain::entry::{self, Entry};
use crate::stages::request::PodRequest;

/// Whether a DEL may be answered with success although its delegates have not finished. Records that
/// what the ledger has is going to be undone. Needs no turn.
pub(super) async fn can_be_made(pipeline: &Pipeline, dirs: &Dirs, request: &PodRequest) -> bool {
    let sandbox = request.sandbox();
    let container = &sandbox.container_id;
    match pipeline.ledger.load(&dirs.cni, &sandbox).await {
        Ok(Some(entries)) => {
            entry::are_behind(&entries, &request.if_name)
                && are_gone(pipeline, dirs, &entries).await
                && pipeline
                    .retries
                    .promise(pipeline, dirs, container, &entries)
                    .await
        }
        // Results stay in the cache, where a GC finds them, until they are undone.
        Ok(None) => match pipeline.ledger.results(&dirs.cni, &sandbox).await {
            Ok(results) if !results.is_empty() => are_gone(pipeline, dirs, &results).await,
            Ok(_) => is_gone(pipeline, dirs, container, sandbox.netns.as_deref()).await,
            Err(_) => false,
        },
        Err(_) => false,
    }
}

/// What a DEL answers that reached its deadline: of a container that nothing is known of no failure
/// fails the DEL.
pub(super) async fn late(
    pipeline: &Pipeline,
    dirs: &Dirs,
    request: &PodRequest,
    late: Error,
) -> Result<(), Error> {
    let sandbox = request.sandbox();
    let recorded = pipeline.ledger.load(&dirs.cni, &sandbox).await;
    let results = pipeline.ledger.results(&dirs.cni, &sandbox).await;
    match (recorded, results) {
        (Ok(None), Ok(results)) if results.is_empty() => Ok(()),
        _ => Err(late),
    }
}

async fn are_gone(pipeline: &Pipeline, dirs: &Dirs, entries: &[Entry]) -> bool {
    for entry in entries {
        if is_there(pipeline, dirs, entry).await {
            return false;
        }
    }
    true
}
