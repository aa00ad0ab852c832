//! Why a request failed, whatever the verb.

use std::time::Duration;

use cni_types::args::ContainerId;

use crate::domain::default_route;
use crate::domain::pod::PodRef;
use crate::ports::{ClusterError, DelegateError, Denial, LedgerError, PodNetworkError};
use crate::stages::{hotplug, readiness, request, resolve, self_delegation};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon is about to end.
    #[error("the daemon is shutting down")]
    Draining,
    /// The request itself is wrong.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// The request of a hot-plug controller is wrong.
    #[error(transparent)]
    Hotplug(#[from] hotplug::Error),
    /// ADD: the default network is not ready yet.
    #[error(transparent)]
    Readiness(#[from] readiness::Error),
    /// The cluster gave no answer, or none that is of use.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// There is no plan for the pod.
    #[error(transparent)]
    Resolve(#[from] resolve::Error),
    /// A network of the plan would execute the shim.
    #[error(transparent)]
    SelfDelegation(#[from] self_delegation::Error),
    /// A policy says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A value of the pod cannot be handed to delegates.
    #[error(transparent)]
    Argument(#[from] cni_types::args::Error),
    /// The plan could not be recorded, read or forgotten.
    #[error("ledger")]
    Ledger(#[from] LedgerError),
    /// A delegate failed.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// The network namespace could not be looked at or changed.
    #[error(transparent)]
    PodNetwork(#[from] PodNetworkError),
    /// Two networks want the pod's default route.
    #[error("pod {pod}")]
    DefaultRoute {
        /// The pod.
        pod: PodRef,
        /// Which networks.
        #[source]
        source: default_route::Conflict,
    },
    /// An interface of that name is in the pod, and none of ours.
    #[error("interface {interface} of network {network:?} exists already in {netns}")]
    InterfaceExists {
        /// The interface.
        interface: String,
        /// The network that wants it.
        network: String,
        /// `CNI_NETNS`.
        netns: String,
    },
    /// STATUS: the default network is not ready.
    #[error(transparent)]
    NetworkNotReady(readiness::Error),
    /// STATUS: the cluster cannot be asked.
    #[error("not ready")]
    NotReady(#[source] ClusterError),
    /// STATUS: a policy that must be there is not, or says no.
    #[error("not ready")]
    PoliciesNotReady(#[source] Denial),
    /// STATUS: there is no default network.
    #[error("no default network")]
    NoDefaultNetwork(#[source] resolve::Error),
    /// The sandbox has its networks already.
    #[error("container {0} is attached already, or was and could not be undone: DEL it first")]
    Attached(ContainerId),
    /// Nothing is known of the sandbox.
    #[error("container {0} is not attached")]
    NotAttached(ContainerId),
    /// Hot-plug: the namespace of the request is not the one that the container was attached in.
    #[error("{netns} is not the network namespace of container {container}: {owner}")]
    OtherNamespace {
        /// The container.
        container: ContainerId,
        /// `CNI_NETNS`.
        netns: String,
        /// Whose it is, or that it is another one.
        owner: String,
    },
    /// CHECK: the namespace of the sandbox is gone, whatever is at its path.
    #[error("the network namespace of container {0} is gone")]
    NamespaceGone(ContainerId),
    /// A DEL came for the container.
    #[error("given up: the container is being deleted")]
    Superseded,
    /// ADD: the container was attached before, and what it had is not removed yet.
    #[error("{0}; ADD the container again later")]
    Removing(Removing),
    /// The container's turn did not come in time.
    #[error("an earlier request for container {container} was still running after {waited:?}")]
    Busy {
        /// The container.
        container: ContainerId,
        /// How long this request waited.
        waited: Duration,
    },
    /// GC: the delegates of a network took too long.
    #[error("network {network:?}: GC did not finish within {waited:?} and was killed")]
    Collecting {
        /// `name` of the network.
        network: String,
        /// How long it ran.
        waited: Duration,
    },
    /// The request took too long.
    #[error("not finished within {0:?}")]
    Deadline(Duration),
    /// The request took too long; what it began is finished all the same.
    #[error("not finished within {0:?}; it goes on in the background")]
    Continues(Duration),
    /// An ADD failed, and what it had added could not all be undone.
    #[error("{cause}; undoing it failed as well, what stayed behind is in the ledger")]
    NotUndone {
        /// Why the ADD failed: the error that is answered.
        #[source]
        cause: Box<Error>,
        /// What could not be undone.
        left: Vec<Error>,
    },
    /// Several attachments failed on the way of a DEL.
    #[error("{} attachments failed", .0.len())]
    Several(Vec<Error>),
}

/// What of an earlier life of a container is still being removed.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "container {container} was attached before, and what it had{attachments} is still being removed: {reason}"
)]
pub struct Removing {
    /// The container.
    pub container: ContainerId,
    /// Interfaces and networks, in brackets; empty where they are not known.
    pub attachments: String,
    /// What keeps it.
    pub reason: String,
}

impl Error {
    /// All errors of something that goes on past errors; `None` where there are none.
    pub(super) fn of_all(mut errors: Vec<Error>) -> Option<Error> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Error::Several(errors)),
        }
    }
}
