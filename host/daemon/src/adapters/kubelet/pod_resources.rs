//! The kubelet's pod-resources API: `Get` for one pod if the kubelet supports it, else `List`. Each
//! request opens a connection: few pods have devices, and the kubelet may restart in between.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libcni::Root;
use tokio::time::Instant;

use super::messages::{GetRequest, GetResponse, ListRequest, ListResponse, PodResources as OfPod};
use crate::adapters::grpc::{self, Connection, code};
use cnidaria_core::domain::device::Allocation;
use cnidaria_core::domain::pod::PodRef;

const LIST: &str = "/v1.PodResourcesLister/List";
const GET: &str = "/v1.PodResourcesLister/Get";
/// The kubelet's message while its feature gate for `Get` is closed.
const DISABLED: &str = "PodResources API Get method disabled";
/// Increment of the retry delay while the kubelet's rate limit rejects calls.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the kubelet gives no allocation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Call(#[from] grpc::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// The client's view of the kubelet's pod-resources socket.
#[derive(Debug)]
pub(super) struct PodResources {
    socket: PathBuf,
    root: Option<Root>,
    /// Whether this kubelet has no `Get`. Reset when connecting fails: the next one may have it.
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

    /// The devices allocated to a pod; empty for pods that the kubelet does not know.
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
                    // Jittered, so that clients rejected together do not retry together.
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
                // With `Get` behind a feature gate, the kubelet returns the same code for a closed
                // gate as for an unknown pod. Only the whole message tells them apart, since a
                // pod's name may contain any word; `List` then decides.
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

/// The pod's allocation. The kubelet identifies pods by name only; if two share it, one is gone.
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

/// Between half of a duration and all of it.
fn jittered(duration: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let bits = RandomState::new().build_hasher().finish();
    duration / 2 + (duration / 2).mul_f64(bits as f64 / u64::MAX as f64)
}
