//! Second stage of an ADD: identifies the pod, and looks up its uid if the runtime sent none.

use std::time::Duration;

use super::request::PodRequest;
use crate::domain::container_names::ContainerNames;
use crate::domain::entry::Entry;
use crate::domain::pod::{Pod, PodRef};
use crate::domain::sandbox::Sandbox;
use crate::ports::{Cluster, ClusterError, ContainerPods};

impl PodRequest {
    /// The sandbox as far as the request describes it.
    pub fn sandbox(&self) -> Sandbox {
        Sandbox {
            container_id: self.container_id.clone(),
            netns: self.netns.clone(),
            namespace: None,
            if_name: self.if_name.clone(),
            infra_container_id: self.pod.infra_container_id.clone(),
            pod: self.pod_ref(),
            runtime_network: self.conf.name.clone(),
            args: self.pod.args.clone(),
        }
    }

    /// The pod as far as the request describes it.
    pub fn pod_ref(&self) -> PodRef {
        PodRef {
            namespace: self.pod.namespace.clone(),
            name: self.pod.name.clone(),
            uid: self.pod.uid.clone().unwrap_or_default(),
        }
    }
}

/// Looks up the pod and its uid. A static pod keeps the runtime's uid, which differs from its
/// mirror pod's. A container whose runtime names no pod, and that no manifest describes, becomes a
/// pod without networks of its own.
///
/// # Errors
/// [`ClusterError`] if the pod does not exist, or another one has its name.
pub async fn identify(
    request: &PodRequest,
    cluster: &dyn Cluster,
    patience: Duration,
) -> Result<(Sandbox, Pod), ClusterError> {
    match (&request.pod.names, cluster.containers()) {
        (Some(names), Some(containers)) => of_container(request, names, containers).await,
        _ => identify_described(request, cluster, patience).await,
    }
}

/// Like [`identify`], but only for described pods; used to find what an ADD may have made.
///
/// # Errors
/// As [`identify`].
pub(crate) async fn identify_described(
    request: &PodRequest,
    cluster: &dyn Cluster,
    patience: Duration,
) -> Result<(Sandbox, Pod), ClusterError> {
    if let (Some(names), Some(containers)) = (&request.pod.names, cluster.containers()) {
        let pod = containers.pod_of(names).await;
        let pod = pod.ok_or_else(|| ClusterError::PodNotFound(names.own().clone()))?;
        return named_as_found(request, pod);
    }
    let pod = cluster.pod(&request.pod_ref(), patience).await?;
    let mut sandbox = request.sandbox();
    if sandbox.pod.uid.is_empty() {
        sandbox.pod.uid.clone_from(&pod.uid);
    } else if sandbox.pod.uid != pod.uid && !pod.is_static() {
        return Err(ClusterError::UidMismatch {
            pod: sandbox.pod,
            found: pod.uid,
        });
    }
    Ok((sandbox, pod))
}

/// Like [`identify`], for a hot-plug into an attached sandbox: if the runtime names no pod, the pod
/// found by the ADD is used.
///
/// # Errors
/// As [`identify`].
pub(crate) async fn identify_attached(
    request: &PodRequest,
    recorded: &[Entry],
    cluster: &dyn Cluster,
    patience: Duration,
) -> Result<(Sandbox, Pod), ClusterError> {
    let attached = recorded.first().filter(|entry| !entry.pod.name.is_empty());
    if let (Some(entry), Some(containers)) = (attached, cluster.containers()) {
        let is_meant = request.pod.names.is_some()
            || (entry.pod.to_string() == request.pod_ref().to_string() && is_container(entry));
        if is_meant {
            let names = ContainerNames::recorded(&entry.pod);
            return of_container(request, &names, containers).await;
        }
    }
    identify(request, cluster, patience).await
}

/// Whether the runtime of a recorded sandbox did not name its pod, unlike runtimes of a kubelet.
fn is_container(entry: &Entry) -> bool {
    let infra = entry.cni_args.get("K8S_POD_INFRA_CONTAINER_ID");
    infra.is_none_or(str::is_empty)
}

async fn of_container(
    request: &PodRequest,
    names: &ContainerNames,
    containers: &dyn ContainerPods,
) -> Result<(Sandbox, Pod), ClusterError> {
    let pod = containers.pod_of(names).await.unwrap_or_else(|| {
        let own = names.own();
        tracing::info!(
            container = %request.container_id,
            pod = %own,
            "no manifest describes the container; it has no networks but the default one"
        );
        Pod {
            namespace: own.namespace.clone(),
            name: own.name.clone(),
            uid: own.uid.clone(),
            ..Pod::default()
        }
    });
    named_as_found(request, pod)
}

/// Names the sandbox of a container after the pod found for it.
fn named_as_found(request: &PodRequest, pod: Pod) -> Result<(Sandbox, Pod), ClusterError> {
    let mut sandbox = request.sandbox();
    let sent = std::mem::replace(&mut sandbox.pod, pod.reference()).uid;
    if sandbox.pod.uid.is_empty() {
        sandbox.pod.uid = sent;
    } else if !sent.is_empty() && sandbox.pod.uid != sent {
        return Err(ClusterError::UidMismatch {
            pod: PodRef {
                uid: sent,
                ..sandbox.pod
            },
            found: pod.uid,
        });
    }
    Ok((sandbox, pod))
}
