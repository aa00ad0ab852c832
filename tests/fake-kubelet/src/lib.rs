//! A fake kubelet and container runtime for tests. It serves the pod-resources API v1, and the list of
//! sandboxes of the Container Runtime Interface, over gRPC on a unix socket, rejects what the kubelet
//! rejects, and records its calls. It defines its own messages, so that a mistake in the daemon's
//! shows.

#![allow(clippy::expect_used, reason = "a test that fails here says where")]

mod messages;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixListener;
use tokio::task::AbortHandle;

pub use messages::{
    ContainerDevices, ContainerResources, DynamicResource, NumaNode, NumaTopology, PodResources,
};

/// How the kubelet answers `Get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Get {
    /// Like a kubelet with the feature enabled.
    #[default]
    Served,
    /// Like a kubelet with the feature disabled.
    Disabled,
    /// Like a kubelet built without the feature.
    Unknown,
}

/// How every call fails, until changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// No failure.
    #[default]
    None,
    /// Fails this many calls with this code and message.
    Refuse {
        /// The gRPC status code.
        code: u32,
        message: String,
        /// The number of calls.
        times: usize,
    },
    /// Never responds.
    Hang,
    /// Sends these bytes instead of a framed message.
    Bytes(Vec<u8>),
    /// Appends this many bytes of an unknown field to the response.
    Inflate(usize),
    /// Ends the response without a status.
    NoStatus,
}

#[derive(Debug, Default)]
struct State {
    pods: Vec<PodResources>,
    sandboxes: Vec<String>,
    get: Get,
    fault: Fault,
    calls: Vec<String>,
}

/// A kubelet that listens until dropped.
#[derive(Debug)]
pub struct FakeKubelet {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    serving: AbortHandle,
}

impl FakeKubelet {
    /// Listens on a socket. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be created.
    pub fn start(socket: &Path) -> std::io::Result<Self> {
        if let Some(dir) = socket.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let listener = UnixListener::bind(socket)?;
        let state = Arc::new(Mutex::new(State::default()));
        let serving = tokio::spawn(serve::run(listener, Arc::clone(&state)));
        Ok(Self {
            socket: socket.to_owned(),
            state,
            serving: serving.abort_handle(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Allocates more devices of a resource to a pod's container. Responses keep this order.
    pub fn allocate(&self, pod: (&str, &str), container: &str, resource: &str, ids: &[&str]) {
        let (namespace, name) = pod;
        let devices = ContainerDevices {
            resource_name: resource.to_owned(),
            device_ids: ids.iter().map(|&id| id.to_owned()).collect(),
            topology: Some(NumaTopology {
                nodes: vec![NumaNode { id: 1 }],
            }),
        };
        let mut state = self.lock();
        let at = |one: &PodResources| one.namespace == namespace && one.name == name;
        let position = state.pods.iter().position(at).unwrap_or_else(|| {
            state.pods.push(PodResources {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                containers: Vec::new(),
            });
            state.pods.len() - 1
        });
        let containers = &mut state.pods.get_mut(position).expect("just found").containers;
        match containers.iter_mut().find(|one| one.name == container) {
            Some(known) => known.devices.push(devices),
            None => containers.push(ContainerResources {
                name: container.to_owned(),
                devices: vec![devices],
                cpu_ids: vec![0, 1],
                dynamic_resources: vec![DynamicResource {
                    claim_name: "claim".to_owned(),
                    claim_namespace: namespace.to_owned(),
                }],
            }),
        }
    }

    /// Replaces the ids of the runtime's sandboxes.
    pub fn set_sandboxes<T: Into<String>>(&self, ids: impl IntoIterator<Item = T>) {
        self.lock().sandboxes = ids.into_iter().map(Into::into).collect();
    }

    /// Sets how `Get` is answered.
    pub fn set_get(&self, get: Get) {
        self.lock().get = get;
    }

    /// Sets how calls fail.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// The methods called since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.serving.abort();
        // A dead kubelet leaves its socket file; a test that needs it hard-links it beforehand.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
