//! Second stage of an ADD: which pod this is, with the uid recovered where the runtime passed none.

use std::time::Duration;

use super::request::PodRequest;
use crate::domain::pod::{Pod, PodRef};
use crate::domain::sandbox::Sandbox;
use crate::ports::{Cluster, ClusterError};

impl PodRequest {
    /// The sandbox as far as the request alone tells.
    pub fn sandbox(&self) -> Sandbox {
        Sandbox {
            container_id: self.container_id.clone(),
            netns: self.netns.clone(),
            namespace: None,
            if_name: self.if_name.clone(),
            infra_container_id: self.pod.infra_container_id.clone(),
            pod: self.pod_ref(),
            args: self.pod.args.clone(),
        }
    }

    /// The pod as far as the request alone tells.
    pub fn pod_ref(&self) -> PodRef {
        PodRef {
            namespace: self.pod.namespace.clone(),
            name: self.pod.name.clone(),
            uid: self.pod.uid.clone().unwrap_or_default(),
        }
    }
}

/// Looks the pod up and recovers its uid. A static pod keeps the uid that the runtime gave, which is
/// not that of its mirror.
///
/// # Errors
/// [`ClusterError`] when the pod is not there, or another one has its name.
pub async fn identify(
    request: &PodRequest,
    cluster: &dyn Cluster,
    patience: Duration,
) -> Result<(Sandbox, Pod), ClusterError> {
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
