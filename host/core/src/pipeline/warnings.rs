//! Warns about pod requests that have no effect. Multus attaches such pods silently; here they are
//! attached too, with a log line and an Event for the pod's owner.

use super::Pipeline;
use crate::domain::attachment::Attachment;
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod, PodRef};
use crate::domain::selection;
use crate::ports::{Event, EventKind};

/// Maximum number of Events per ADD for requests without effect.
const MAX_EVENTS: usize = 5;

/// Warns about misspelt keys in the annotations, with one Event per annotation.
pub(super) fn unknown_members(pipeline: &Pipeline, pod: &Pod) {
    for (annotation, text) in [
        (NETWORKS_ANNOTATION, pod.networks_annotation()),
        (DEFAULT_NETWORK_ANNOTATION, pod.default_network_annotation()),
    ] {
        let unknown = text.map(|text| selection::unknown_members(text, &pipeline.limits));
        let unknown = unknown.unwrap_or_default();
        if unknown.is_empty() {
            continue;
        }
        let pod = pod.reference();
        for one in &unknown.first {
            tracing::warn!(
                %pod,
                annotation,
                element = one.place,
                member = one.member,
                did_you_mean = one.meant,
                "an unknown member of an annotation is ignored"
            );
        }
        let message = format!("annotation {annotation}: {unknown}");
        warn(pipeline, &pod, "UnknownMember", message);
    }
}

/// Warns about requests that no plugin of the network takes. The Events are capped, so that those
/// of the attachments are not lost.
pub(super) fn untaken_requests(pipeline: &Pipeline, pod: &PodRef, attachments: &[Attachment]) {
    let mut events = 0;
    for attachment in attachments {
        let Attachment {
            network, if_name, ..
        } = attachment;
        for capability in attachment.untaken_requests() {
            tracing::warn!(
                %pod,
                network,
                interface = %if_name,
                capability,
                "a request is ignored: no plugin of the network declares its capability"
            );
            events += 1;
            if events > MAX_EVENTS {
                continue;
            }
            let message = format!(
                "{if_name} of network {network:?} gets none of the requested {capability}: no plugin of its conf declares the capability {capability:?}"
            );
            warn(pipeline, pod, "RequestIgnored", message);
        }
    }
}

fn warn(pipeline: &Pipeline, pod: &PodRef, reason: &'static str, message: String) {
    let kind = EventKind::Warning;
    let event = Event {
        kind,
        reason,
        message,
    };
    pipeline.ports.cluster.event(pod, event);
}
