//! A container's attachments according to the cluster, for a DEL that neither ledger nor result
//! cache can answer. Best effort: what they name may never have existed.

use std::time::Duration;

use super::Pipeline;
use crate::domain::entry::Entry;
use crate::ports::ClusterError;
use crate::stages::request::PodRequest;
use crate::stages::{identity, known, resolve};

/// A pod's attachments according to the cluster.
pub(super) enum Described {
    /// What the pod requests now.
    Pod {
        entries: Vec<Entry>,
        /// Whether `entries` covers every requested network.
        is_complete: bool,
    },
    /// The pod does not exist, or its name belongs to another pod now.
    Nothing,
    /// The cluster is temporarily unavailable.
    Unknown,
}

impl Described {
    /// The known entries, complete or not.
    pub(super) fn entries(self) -> Vec<Entry> {
        match self {
            Self::Pod { entries, .. } => entries,
            Self::Nothing | Self::Unknown => Vec::new(),
        }
    }

    /// The entries if they are complete.
    pub(super) fn all(self) -> Option<Vec<Entry>> {
        match self {
            Self::Pod {
                entries,
                is_complete: true,
            } => Some(entries),
            _ => None,
        }
    }
}

/// The attachments that the container of a request may have, for a best-effort undo: those that
/// its pod requests now or, if the cluster knows none, the default network's.
pub(super) async fn likely(pipeline: &Pipeline, request: &PodRequest) -> Vec<Entry> {
    match of_cluster(pipeline, request).await {
        Described::Pod { entries, .. } if !entries.is_empty() => entries,
        _ => of_default_network(pipeline, request).await.0,
    }
}

/// The attachments that an ADD would make now, network by network.
pub(super) async fn of_cluster(pipeline: &Pipeline, request: &PodRequest) -> Described {
    let cluster = &*pipeline.ports.cluster;
    let container = &request.container_id;
    let described = identity::identify_described(request, cluster, Duration::ZERO).await;
    let (sandbox, pod) = match described {
        Ok(described) => described,
        Err(error) => {
            let error_text = crate::report::chain(&error);
            tracing::info!(%container, error = error_text, "cannot determine the networks of the container's pod; only the default network remains");
            return match error {
                ClusterError::PodNotFound(_) | ClusterError::UidMismatch { .. } => {
                    Described::Nothing
                }
                _ => Described::Unknown,
            };
        }
    };
    let known = known::known(&request.conf, &sandbox, &pod, pipeline.lookups()).await;
    tracing::debug!(%container, pod = %sandbox.pod, "undoing what the pod asks for now");
    let mut is_complete = known.is_complete;
    let mut entries = Vec::with_capacity(known.attachments.len());
    for attachment in &known.attachments {
        match Entry::new(attachment, &sandbox) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                let (network, error) = (&attachment.network, crate::report::chain(&error));
                tracing::warn!(%container, network, error, "cannot build the DEL of a network; skipping it until the next DEL");
                is_complete = false;
            }
        }
    }
    Described::Pod {
        entries,
        is_complete,
    }
}

/// The attachment to the default network, which every pod has, and whether that network is known.
pub(super) async fn of_default_network(
    pipeline: &Pipeline,
    request: &PodRequest,
) -> (Vec<Entry>, bool) {
    let conf = &request.conf;
    let sandbox = request.sandbox();
    match resolve::default_attachment(conf, &sandbox, pipeline.lookups()).await {
        Ok(attachment) => {
            let entries: Vec<_> = Entry::new(&attachment, &sandbox).into_iter().collect();
            let is_known = !entries.is_empty();
            (entries, is_known)
        }
        Err(error) => {
            tracing::warn!(
                container = %sandbox.container_id,
                error = crate::report::chain(&error),
                "cannot resolve the default network; the container is not deleted from it"
            );
            (Vec::new(), false)
        }
    }
}
