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

/// Warns about misspelt annotations, and misspelt keys in them, with one Event per annotation.
pub(super) fn misspellings(pipeline: &Pipeline, pod: &Pod) {
    let reference = pod.reference();
    for (annotation, meant) in pod.misspelt_annotations() {
        tracing::warn!(
            pod = %reference,
            annotation,
            did_you_mean = meant,
            "an annotation with an unknown key is ignored"
        );
        let message = misspelt_annotation(annotation, meant);
        warn(pipeline, &reference, "UnknownAnnotation", message);
    }
    for (annotation, unknown) in unknown_members(pod, &pipeline.limits) {
        let pod = &reference;
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
        let message = unknown_member(annotation, &unknown);
        warn(pipeline, pod, "UnknownMember", message);
    }
}

/// The misspelt annotations of a pod, and the misspelt keys in them, which an ADD ignores: a message
/// for each annotation.
pub fn ignored_members(pod: &Pod, limits: &Limits) -> Vec<String> {
    let annotations = pod
        .misspelt_annotations()
        .map(|(annotation, meant)| misspelt_annotation(annotation, meant));
    let members = unknown_members(pod, limits)
        .map(|(annotation, unknown)| unknown_member(annotation, &unknown));
    annotations.chain(members).collect()
}

fn unknown_members(
    pod: &Pod,
    limits: &Limits,
) -> impl Iterator<Item = (&'static str, UnknownMembers)> {
    [
        (NETWORKS_ANNOTATION, pod.networks_annotation()),
        (DEFAULT_NETWORK_ANNOTATION, pod.default_network_annotation()),
    ]
    .into_iter()
    .filter_map(|(annotation, text)| {
        let unknown = selection::unknown_members(text?, limits);
        (!unknown.is_empty()).then_some((annotation, unknown))
    })
}

fn misspelt_annotation(annotation: &str, meant: &str) -> String {
    format!("annotation {annotation} is unknown, did you mean {meant:?}?")
}

fn unknown_member(annotation: &str, unknown: &UnknownMembers) -> String {
    format!("annotation {annotation}: {unknown}")
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
