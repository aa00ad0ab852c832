//! Gives attachments up: forgets them although parts of them may remain on the node. Never silently.

use super::Pipeline;
use super::dirs::Dirs;
use crate::domain::entry::Entry;
use crate::ports::{Event, EventKind};

/// Forgets an attachment whose plan is being removed. A result that stayed would be listed, and
/// undone beside what the container id has next.
pub(super) async fn discard(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry, reason: &str) {
    give_up(pipeline, entry, reason);
    let forgotten = pipeline.ports.ledger.forget_result(&dirs.cni, entry).await;
    if let Err(error) = forgotten {
        tracing::error!(
            container = %entry.container_id,
            interface = %entry.if_name,
            error = crate::report::chain(&error),
            "cannot remove the result of an attachment that was given up"
        );
    }
}

/// Logs and counts an attachment that is forgotten although parts of it may remain on the node.
pub(super) fn give_up(pipeline: &Pipeline, entry: &Entry, reason: &str) {
    tracing::error!(
        container = %entry.container_id,
        pod = %entry.pod,
        network = entry.network,
        interface = %entry.if_name,
        reason,
        "forgot an attachment without undoing it; interface and addresses may be left on the node"
    );
    if let Some(meter) = &pipeline.meter {
        meter.gave_up();
    }
    let event = Event {
        kind: EventKind::Warning,
        reason: "UndoGivenUp",
        message: format!(
            "interface {} of network {:?} was forgotten without being undone: {reason}",
            entry.if_name, entry.network
        ),
    };
    pipeline.ports.cluster.event(&entry.pod, event);
}
