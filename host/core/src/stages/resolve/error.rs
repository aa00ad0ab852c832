//! Why the networks of a pod do not become a plan.

use crate::domain::attachment::MAX_FILE_NAME;
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, PodRef};
use crate::domain::selection;
use crate::stages::{devices, network_lookup};

/// Why a plan could not be made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An annotation of the pod is malformed.
    #[error("annotation {annotation} of pod {pod}")]
    Annotation {
        /// The annotation's name.
        annotation: &'static str,
        /// The annotated pod.
        pod: PodRef,
        /// What is wrong with it.
        #[source]
        source: selection::Error,
    },
    /// The default-network annotation names several networks, or none.
    #[error("annotation {DEFAULT_NETWORK_ANNOTATION} of pod {0}: it must name one network")]
    SeveralDefaults(PodRef),
    /// The network's namespace is off-limits to the pod.
    #[error(
        "{}: network {network} is in another namespace, and namespaces are isolated",
        named_in(annotation, pod, named_by.as_deref())
    )]
    Isolated {
        /// The annotation's name.
        annotation: &'static str,
        /// The annotated pod.
        pod: PodRef,
        /// `namespace/name`.
        network: String,
        /// The policy that named the network, if the pod did not.
        named_by: Option<String>,
    },
    /// A network selected by the pod cannot be used.
    #[error("pod {pod}: network {network:?} ({})", asked(*position, named_by.as_deref()))]
    Selected {
        /// The selecting pod.
        pod: PodRef,
        /// `namespace/name`.
        network: String,
        /// The element's position, from 1.
        position: usize,
        /// The policy that named the network, if the pod did not.
        named_by: Option<String>,
        /// Why it cannot be used.
        #[source]
        source: network_lookup::Error,
    },
    /// A network named by the CNI conf cannot be used.
    #[error("{key} {network:?}")]
    Configured {
        /// The key: `clusterNetwork`, `defaultNetworks`, `delegates` or `auxiliaryCNIChainName`.
        key: &'static str,
        /// The name or path under that key, or the position in `delegates`.
        network: String,
        /// Why it cannot be used.
        #[source]
        source: network_lookup::Error,
    },
    /// The device of a network could not be determined.
    #[error("pod {pod}: device of network {network:?} (resource {resource:?})")]
    Device {
        /// The pod that needs the device.
        pod: PodRef,
        /// The network's name as in network-status.
        network: String,
        /// The resource named by the NAD.
        resource: String,
        /// Why the device could not be determined.
        #[source]
        source: Box<devices::Error>,
    },
    /// The file name for the attachment's result would be too long.
    #[error(
        "network {network:?}: name {name:?} of its conf is too long: the file of its result would have a name of {bytes} bytes, at most {} are possible",
        MAX_FILE_NAME
    )]
    LongName {
        /// The network's name as in network-status.
        network: String,
        /// The conf's `name`, shortened.
        name: String,
        /// Length of the file name.
        bytes: usize,
    },
    /// Two attachments have the same interface name.
    #[error("pod {pod}: networks {first:?} and {second:?} both want interface {interface}")]
    SameInterface {
        /// The pod with both attachments.
        pod: PodRef,
        /// The first network.
        first: String,
        /// The second network.
        second: String,
        /// The duplicate name.
        interface: String,
    },
}

/// Where a network was named.
fn named_in(annotation: &str, pod: &PodRef, policy: Option<&str>) -> String {
    match policy {
        Some(policy) => format!("policy {policy:?}, for pod {pod}"),
        None => format!("annotation {annotation} of pod {pod}"),
    }
}

/// Which of a pod's networks it is.
fn asked(position: usize, policy: Option<&str>) -> String {
    match policy {
        Some(policy) => format!("selected by policy {policy:?}"),
        None => format!("element {position} of its networks"),
    }
}
