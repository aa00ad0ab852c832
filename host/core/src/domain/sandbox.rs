//! The pod sandbox of a request, which attachments are added to.

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};

use super::namespace::Namespace;
use super::pod::PodRef;

/// The result cache's directory, which stands beside the ledger's file of each container: no
/// container can have this id.
pub const RESULTS_DIR: &str = "results";

/// A pod sandbox, as identified by the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_NETNS`; `None` if a DEL omits it, empty if the namespace is known to be gone.
    pub netns: Option<String>,
    /// The namespace at that path; set on ADD.
    pub namespace: Option<Namespace>,
    /// `CNI_IFNAME`: the interface of the default network.
    pub if_name: IfName,
    /// `K8S_POD_INFRA_CONTAINER_ID`, passed on to delegates unchanged.
    pub infra_container_id: String,
    /// The sandbox's pod.
    pub pod: PodRef,
    /// `name` of the runtime's conf; a hot-plug takes it from the pod's recorded attachments.
    pub runtime_network: Option<NetworkName>,
    /// `CNI_ARGS` of the request. Those that do not identify the pod go to the default network
    /// only.
    pub args: CniArgs,
}

impl Sandbox {
    /// A sandbox known only by id; the ledger has the rest.
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
            runtime_network: None,
            args: CniArgs::new(),
        }
    }
}
