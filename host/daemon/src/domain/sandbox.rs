//! The pod sandbox of a request: what the runtime made and what attachments are put into.

use cni_types::args::{CniArgs, ContainerId, IfName};

use super::entry::Entry;
use super::namespace::Namespace;
use super::pod::PodRef;

/// One pod sandbox, as the container runtime names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_NETNS`; `None` where a DEL does not say, and empty where the namespace is known to be gone.
    pub netns: Option<String>,
    /// Which namespace is at that path, on ADD.
    pub namespace: Option<Namespace>,
    /// `CNI_IFNAME`: the interface of the default network.
    pub if_name: IfName,
    /// `K8S_POD_INFRA_CONTAINER_ID`, passed on to delegates as the runtime gave it.
    pub infra_container_id: String,
    /// The pod that the sandbox is for.
    pub pod: PodRef,
    /// `CNI_ARGS` of the request. What says nothing of the pod is for the default network.
    pub args: CniArgs,
}

impl Sandbox {
    /// The same with the pod that its attachments were made for, where they tell: a request need not name
    /// it.
    #[must_use]
    pub fn with_pod_of(mut self, entries: &[Entry]) -> Self {
        if let Some(entry) = entries.iter().find(|entry| !entry.pod.name.is_empty()) {
            self.pod.clone_from(&entry.pod);
        }
        self
    }

    /// A sandbox of which only the ledger knows anything but the id.
    pub fn recorded(container_id: ContainerId) -> Self {
        Self {
            container_id,
            netns: None,
            namespace: None,
            if_name: IfName::new("eth0").expect("a valid name"),
            infra_container_id: String::new(),
            pod: PodRef {
                namespace: String::new(),
                name: String::new(),
                uid: String::new(),
            },
            args: CniArgs::new(),
        }
    }
}
