//! Events for the owners of pods whose ADDs fail or succeed.

use super::{Error, Pipeline};
use crate::domain::announcement;
use crate::domain::entry::Entry;
use crate::domain::pod::PodRef;
use crate::ports::{ClusterError, Event, EventKind};
use crate::stages::{network_lookup, resolve};

/// Emits an Event that a requested network does not exist, in Multus' wording.
pub(super) fn network_missing(pipeline: &Pipeline, pod: &PodRef, error: &resolve::Error) {
    let resolve::Error::Selected {
        named_by,
        source: network_lookup::Error::Cluster(ClusterError::NadNotFound { namespace, name }),
        ..
    } = error
    else {
        return;
    };
    let mut message = format!(
        "cannot find a network-attachment-definition ({name}) in namespace ({namespace}): networkattachmentdefinition.k8s.cni.cncf.io {name:?} not found"
    );
    if let Some(policy) = named_by {
        message = format!("policy {policy:?} selected it: {message}");
    }
    let event = Event {
        kind: EventKind::Warning,
        reason: "NoNetworkFound",
        message,
    };
    pipeline.ports.cluster.event(pod, event);
}

/// Emits an Event with the delegate's error for the network that failed. It names no container:
/// the runtime retries with a new one, and repeated failures must aggregate into one Event.
pub(super) fn delegate_failed(pipeline: &Pipeline, pod: &PodRef, cause: &Error) {
    let Error::Delegate(error) = cause else {
        return;
    };
    let event = Event {
        kind: EventKind::Warning,
        reason: "DelegateFailed",
        message: crate::report::chain(error),
    };
    pipeline.ports.cluster.event(pod, event);
}

/// Emits an Event for an added interface, in Multus' wording.
pub(super) fn interface_added(pipeline: &Pipeline, entry: &Entry) {
    let Some(message) = announcement::of_attachment(entry) else {
        return;
    };
    let event = Event {
        kind: EventKind::Normal,
        reason: "AddedInterface",
        message,
    };
    pipeline.ports.cluster.event(&entry.pod, event);
}
