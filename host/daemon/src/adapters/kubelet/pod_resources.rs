//! The kubelet's pod-resources API: `Get` of the one pod where the kubelet has it, else `List`. A
//! connection for each request, since few pods have devices and the kubelet may be another one by the
//! next.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libcni::Root;
use tokio::time::Instant;

use super::grpc::{self, Connection, code};
use super::messages::{GetRequest, GetResponse, ListRequest, ListResponse, PodResources as OfPod};
use crate::domain::device::Allocation;
use crate::domain::pod::PodRef;

const LIST: &str = "/v1.PodResourcesLister/List";
const GET: &str = "/v1.PodResourcesLister/Get";
/// What the kubelet answers where its feature gate for the method is closed.
const DISABLED: &str = "PodResources API Get method disabled";
/// The kubelet answers so many a second and refuses the others.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the kubelet does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It cannot be asked, or refuses.
    #[error(transparent)]
    Call(#[from] grpc::Error),
    /// It does not answer.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// The kubelet's end of the socket.
#[derive(Debug)]
pub(super) struct PodResources {
    socket: PathBuf,
    root: Option<Root>,
    /// Whether this kubelet has no `Get`; another one may.
    only_lists: AtomicBool,
}

impl PodResources {
    pub(super) fn new(socket: PathBuf, root: Option<Root>) -> Self {
        Self {
            socket,
            root,
            only_lists: AtomicBool::new(false),
        }
    }

    /// What was allocated to a pod; nothing to one that the kubelet does not know.
    pub(super) async fn of_pod(
        &self,
        pod: &PodRef,
        patience: Duration,
    ) -> Result<Allocation, Error> {
        let deadline = Instant::now() + patience;
        let mut attempt = Duration::ZERO;
        let ask = async {
            loop {
                match self.ask(pod).await {
                    // In other steps than those who are refused with this one.
                    Err(error) if error.code() == Some(code::RESOURCE_EXHAUSTED) => {
                        attempt += PAUSE;
                        tokio::time::sleep(jittered(attempt)).await;
                    }
                    answered => return answered,
                }
            }
        };
        match tokio::time::timeout_at(deadline, ask).await {
            Ok(answered) => Ok(allocation(answered?, pod)),
            Err(_) => Err(Error::Timeout(patience)),
        }
    }

    async fn ask(&self, pod: &PodRef) -> Result<Vec<OfPod>, grpc::Error> {
        let opened = Connection::open(&self.socket, self.root.as_ref()).await;
        let mut connection = opened.inspect_err(|_| {
            self.only_lists.store(false, Ordering::Relaxed);
        })?;
        if !self.only_lists.load(Ordering::Relaxed) {
            let request = GetRequest {
                pod_name: pod.name.clone(),
                pod_namespace: pod.namespace.clone(),
            };
            match connection.unary::<GetResponse>(GET, &request).await {
                Ok(answer) => return Ok(answer.pod_resources.into_iter().collect()),
                Err(error) if error.code() == Some(code::RESOURCE_EXHAUSTED) => return Err(error),
                // It has the method behind a feature gate, and an error of no code of its own for
                // both a gate that is closed and a pod that it does not know: the list tells. Only
                // the whole message tells them apart, since a pod's name may have any word in it.
                Err(grpc::Error::Status { code, message }) => {
                    let lacks = code == code::UNIMPLEMENTED || message == DISABLED;
                    self.only_lists.store(lacks, Ordering::Relaxed);
                }
                Err(other) => return Err(other),
            }
        }
        let answer: ListResponse = connection.unary(LIST, &ListRequest {}).await?;
        Ok(answer.pod_resources)
    }
}

/// What belongs to the pod. The kubelet tells of pods by name alone; of two of a name, one is gone.
fn allocation(answer: Vec<OfPod>, pod: &PodRef) -> Allocation {
    let mut allocation = Allocation::default();
    let of_pod = answer
        .into_iter()
        .filter(|one| one.name == pod.name && one.namespace == pod.namespace);
    for container in of_pod.flat_map(|one| one.containers) {
        for devices in container.devices {
            for id in devices.device_ids {
                allocation.add_once(&devices.resource_name, id);
            }
        }
    }
    allocation
}

/// Between half of a duration and the whole.
fn jittered(duration: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let bits = RandomState::new().build_hasher().finish();
    duration / 2 + (duration / 2).mul_f64(bits as f64 / u64::MAX as f64)
}
