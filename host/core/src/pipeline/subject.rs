//! What a request is about, for the log.

use std::time::Duration;

use cni_types::args::Command;

use crate::spans::Trace;
use crate::stages::hotplug::Hotplug;
use crate::stages::request::{PodRequest, Request};

/// The verb, container, interface and pod of a request; the latter three are empty for STATUS and
/// GC.
pub(super) struct Subject {
    pub(super) verb: Command,
    container: String,
    interface: String,
    pod: String,
}

impl Subject {
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::Pod(pod) => Self::of_pod(pod),
            other => Self::of_node(other.command()),
        }
    }

    pub(super) fn of_hotplug(request: &Hotplug) -> Self {
        match request {
            Hotplug::Attachment { request, .. } => Self::of_pod(request),
            Hotplug::Status { .. } => Self::of_node(request.command()),
        }
    }

    fn of_node(verb: Command) -> Self {
        Self {
            verb,
            container: String::new(),
            interface: String::new(),
            pod: String::new(),
        }
    }

    fn of_pod(request: &PodRequest) -> Self {
        let named = &request.pod;
        Self {
            verb: request.command,
            container: request.container_id.to_string(),
            interface: request.if_name.to_string(),
            pod: match named.name.is_empty() {
                true => String::new(),
                false => format!("{}/{}", named.namespace, named.name),
            },
        }
    }

    /// Notes in the request's trace what it is about.
    pub(super) fn note(&self, trace: &Trace) {
        trace.note("verb", self.verb.as_str());
        trace.note("pod", &self.pod);
        trace.note("container", &self.container);
        trace.note("interface", &self.interface);
    }

    /// Logs the end of the request, in one line.
    pub(super) fn log(&self, trace: &Trace, failed: Option<&str>, took: Duration) {
        let milliseconds = took.as_millis();
        let request = trace.id;
        match failed {
            Some(error) => tracing::error!(
                error,
                verb = self.verb.as_str(),
                pod = given(&self.pod),
                container = given(&self.container),
                interface = given(&self.interface),
                milliseconds,
                %request,
                "request failed"
            ),
            None => tracing::info!(
                verb = self.verb.as_str(),
                pod = given(&self.pod),
                container = given(&self.container),
                interface = given(&self.interface),
                milliseconds,
                %request,
                "request served"
            ),
        }
    }
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
