//! What exists beside the ledger: the runtime's sandboxes, and the addresses that an IPAM plugin has
//! reserved.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use cni_types::args::{ContainerId, NetworkName};
use cni_types::conf::NetworkConfList;

/// The container runtime, as the kubelet knows it.
#[async_trait]
pub trait Sandboxes: Send + Sync {
    /// The ids of all sandboxes, ready or not.
    ///
    /// # Errors
    /// [`SandboxesError`] if the runtime does not answer, or not with a list of bounded size.
    async fn list(&self) -> Result<BTreeSet<ContainerId>, SandboxesError>;
}

/// The runtime's sandboxes are not known.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the sandboxes of the runtime at {socket}: {reason}")]
pub struct SandboxesError {
    /// The runtime's socket.
    pub socket: PathBuf,
    /// Why they are not known.
    pub reason: String,
}

/// The addresses that `host-local` has reserved.
#[async_trait]
pub trait Reservations: Send + Sync {
    /// The reservations of networks with these confs. Directories that cannot be read are logged and
    /// left out.
    async fn list(&self, confs: &[NetworkConfList]) -> Vec<Reservation>;

    /// Releases an address, unless it is reserved for another container now; returns whether it was
    /// released.
    ///
    /// # Errors
    /// Those of the system, also while the plugin works.
    async fn release(&self, reservation: &Reservation) -> std::io::Result<bool>;
}

/// A reserved address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation {
    /// `dataDir` of the plugin.
    pub data_dir: PathBuf,
    /// `name` of the network's conf.
    pub network: NetworkName,
    pub address: IpAddr,
    /// `CNI_CONTAINERID` of the ADD.
    pub container: ContainerId,
    /// When it was reserved, by the file system's clock: tells a later reservation for the same
    /// container.
    pub since: Option<SystemTime>,
}
