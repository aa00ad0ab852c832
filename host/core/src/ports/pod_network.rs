//! Network namespaces of pods.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cni_types::args::IfName;
use shim_api::deferred::NetnsId;

use crate::domain::namespace::Namespace;

/// Works inside a pod's network namespace.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Inspects an ADD's namespace: its identity, and which of `names` its interfaces already have.
    ///
    /// # Errors
    /// [`PodNetworkError`] if the namespace does not exist, or is the node's own.
    async fn look(&self, netns: &Path, names: &[IfName]) -> Result<Inside, PodNetworkError>;

    /// Returns what is at a path now, before a delegate runs in it.
    ///
    /// # Errors
    /// [`PodNetworkError`] if the system cannot tell.
    async fn at(&self, netns: &Path) -> Result<AtPath, PodNetworkError>;

    /// Whether nothing is at a path of a namespace, in a directory that is there: in a missing one,
    /// as before its file system is mounted, nothing can be seen.
    async fn is_absent(&self, netns: &Path) -> bool {
        let _ = netns;
        true
    }

    /// Whether a process is in the namespace at a path.
    ///
    /// # Errors
    /// [`PodNetworkError`] if the system cannot tell.
    async fn has_processes(&self, netns: &Path) -> Result<bool, PodNetworkError> {
        let _ = netns;
        Ok(true)
    }

    /// Whether an interface in any network namespace of the node has an address.
    ///
    /// # Errors
    /// [`PodNetworkError`] if the system cannot tell.
    async fn has_address(&self, address: IpAddr) -> Result<bool, PodNetworkError> {
        let _ = address;
        Ok(true)
    }

    /// Whether the node was rebooted after this namespace was recorded.
    fn is_of_earlier_boot(&self, namespace: &Namespace) -> bool;

    /// Device and inode of the file at a path; `None` if it does not exist.
    async fn identity(&self, netns: &Path) -> Option<NetnsId>;

    /// Makes `gateway` on `if_name` the only default route of its address family.
    ///
    /// # Errors
    /// [`PodNetworkError`].
    async fn set_default_route(
        &self,
        netns: &Path,
        if_name: &IfName,
        gateway: IpAddr,
    ) -> Result<(), PodNetworkError>;
}

/// An inspected namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Its identity.
    pub namespace: Namespace,
    /// The names its interfaces already have.
    pub existing: Vec<IfName>,
}

/// What is at the path of a network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtPath {
    /// No network namespace.
    Nothing,
    /// The daemon's own namespace or the node's, in which no delegate of a pod may run.
    Node,
    /// Any other namespace.
    Pod(Namespace),
}

/// Why a pod's network could not be inspected or changed.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// The path does not exist, or is not a network namespace.
    #[error("cannot use network namespace {path}")]
    Namespace {
        /// `CNI_NETNS`.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The path leads to the node's own network namespace.
    #[error("network namespace {0} is the node's own, not a pod's")]
    Node(PathBuf),
    /// The kernel refused a change.
    #[error("{action} in network namespace {path}: {reason}")]
    Netlink {
        /// The attempted change.
        action: String,
        /// `CNI_NETNS`.
        path: PathBuf,
        /// The kernel's error.
        reason: String,
    },
}
