//! Warns about pod requests that have no effect. Multus attaches such pods silently; here they are
//! attached too, with a log line and an Event for the pod's owner.

use super::Pipeline;
use crate::domain::attachment::Attachment;
use crate::domain::limits::Limits;
use crate::domain::members::UnknownMembers;
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod, PodRef};
use crate::domain::selection;
use crate::ports::{Event, EventKind};

/// Maximum number of Events per ADD for requests without effect.
const MAX_EVENTS: usize = 5;

/// The unknown members in each annotation that has some.
fn unknown<'a>(
    pod: &'a Pod,
    limits: &'a Limits,
) -> impl Iterator<Item = (&'static str, UnknownMembers)> + 'a {
    let annotations = [
        (NETWORKS_ANNOTATION, pod.networks_annotation()),
        (DEFAULT_NETWORK_ANNOTATION, pod.default_network_annotation()),
    ];
    let unknown = annotations.into_iter().filter_map(|(annotation, text)| {
        let unknown = selection::unknown_members(text?, limits);
        Some((annotation, unknown))
    });
    unknown.filter(|(_, unknown)| !unknown.is_empty())
}

/// Misspelt keys in a pod's annotations, which an ADD ignores: a message for each annotation.
pub fn ignored_members(pod: &Pod, limits: &Limits) -> Vec<String> {
    unknown(pod, limits)
        .map(|(annotation, unknown)| ignored(annotation, &unknown))
        .collect()
}

fn ignored(annotation: &str, unknown: &UnknownMembers) -> String {
    format!("annotation {annotation}: {unknown}")
}

/// Warns about misspelt keys in the annotations, with one Event per annotation.
pub(super) fn unknown_members(pipeline: &Pipeline, pod: &Pod) {
    for (annotation, unknown) in unknown(pod, &pipeline.limits) {
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
        let message = ignored(annotation, &unknown);
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
