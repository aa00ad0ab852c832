//! A kubelet that stands in for a real one in tests. It serves the pod-resources API, version 1, by
//! gRPC on a unix socket, as the kubelet does, refuses what the kubelet refuses, and counts what it is
//! asked. Its messages are its own, so that a mistake in those of the daemon shows.

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
    /// As it does with the feature.
    #[default]
    Served,
    /// As it does where the feature is off.
    Disabled,
    /// As it does where it was built without.
    Unknown,
}

/// What goes wrong with every call, until something else does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// This code and this message instead of so many answers.
    Refuse {
        /// gRPC's code.
        code: u32,
        /// The message.
        message: String,
        /// How many calls.
        times: usize,
    },
    /// No answer, ever.
    Hang,
    /// These bytes instead of a frame with a message.
    Bytes(Vec<u8>),
    /// The answer, and behind it so many bytes of a member that nobody knows.
    Inflate(usize),
    /// An answer that ends without a status.
    NoStatus,
}

#[derive(Debug, Default)]
struct State {
    pods: Vec<PodResources>,
    get: Get,
    fault: Fault,
    calls: Vec<String>,
}

/// A kubelet that listens as long as this is there.
#[derive(Debug)]
pub struct FakeKubelet {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    serving: AbortHandle,
}

impl FakeKubelet {
    /// Listens on a socket. Called on a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
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

    /// Allocates devices of a resource to a container of a pod, after those that it has. Devices are
    /// told in the order in which they were allocated.
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

    /// Answers `Get` like this from now on.
    pub fn set_get(&self, get: Get) {
        self.lock().get = get;
    }

    /// Lets calls go wrong like this from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// The methods that were called since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.serving.abort();
        // A kubelet that dies leaves its socket; who wants that links it before.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
