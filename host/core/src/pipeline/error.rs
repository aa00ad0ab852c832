//! Why a request failed, for all verbs.

use std::time::Duration;

use cni_types::args::ContainerId;

use crate::domain::default_route;
use crate::domain::pod::PodRef;
use crate::ports::{ClusterError, DelegateError, Denial, LedgerError, PodNetworkError};
use crate::stages::{hotplug, readiness, request, resolve, self_delegation};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon is about to exit.
    #[error("the daemon is shutting down")]
    Draining,
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// The hot-plug controller's request is malformed.
    #[error(transparent)]
    Hotplug(#[from] hotplug::Error),
    /// ADD: the default network is not ready yet.
    #[error(transparent)]
    Readiness(#[from] readiness::Error),
    /// The cluster returned no usable answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The pod's networks could not be resolved to a plan.
    #[error(transparent)]
    Resolve(#[from] resolve::Error),
    /// A network of the plan would execute the shim again.
    #[error(transparent)]
    SelfDelegation(#[from] self_delegation::Error),
    /// A policy denied the request.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A value of the pod cannot be passed to delegates.
    #[error(transparent)]
    Argument(#[from] cni_types::args::Error),
    /// The plan could not be recorded, read or removed.
    #[error("ledger")]
    Ledger(#[from] LedgerError),
    /// A delegate failed.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// The network namespace could not be inspected or changed.
    #[error(transparent)]
    PodNetwork(#[from] PodNetworkError),
    /// Two networks claim the pod's default route.
    #[error("pod {pod}")]
    DefaultRoute {
        /// The pod with the conflict.
        pod: PodRef,
        /// The conflicting networks.
        #[source]
        source: default_route::Conflict,
    },
    /// The pod already has an interface of this name that the daemon did not create.
    #[error("interface {interface} of network {network:?} exists already in {netns}")]
    InterfaceExists {
        /// The name of the interface.
        interface: String,
        /// The network that requested it.
        network: String,
        /// `CNI_NETNS`.
        netns: String,
    },
    /// STATUS: the default network is not ready.
    #[error(transparent)]
    NetworkNotReady(readiness::Error),
    /// STATUS: the cluster cannot be queried.
    #[error("the cluster is not ready")]
    NotReady(#[source] ClusterError),
    /// STATUS: a required policy is missing or not ready.
    #[error("the policies are not ready")]
    PoliciesNotReady(#[source] Denial),
    /// STATUS: the default network was not found.
    #[error("no default network")]
    NoDefaultNetwork(#[source] resolve::Error),
    /// The sandbox is already attached.
    #[error("container {0} is attached already, or was and could not be undone: DEL it first")]
    Attached(ContainerId),
    /// Hot-plug: a policy leaves out the only network of the request.
    #[error("network {0:?}: a policy leaves it out")]
    Skipped(String),
    /// The sandbox is not in the ledger.
    #[error("container {0} is not attached")]
    NotAttached(ContainerId),
    /// Hot-plug: the request names another namespace than the one the container was attached in.
    #[error("{netns} is not the network namespace of container {container}: {owner}")]
    OtherNamespace {
        /// The container to hot-plug.
        container: ContainerId,
        /// `CNI_NETNS`.
        netns: String,
        /// Who owns the namespace, or that it is a different one.
        owner: String,
    },
    /// CHECK: the sandbox's namespace is gone, even if another one has its path.
    #[error("the network namespace of container {0} is gone")]
    NamespaceGone(ContainerId),
    /// A DEL for the same container cancelled the request.
    #[error("cancelled: the container is being deleted")]
    Superseded,
    /// ADD: attachments from an earlier use of the container id are still being removed.
    #[error("{0}; ADD the container again later")]
    Removing(Removing),
    /// The request timed out waiting for the container's turn.
    #[error(
        "container {container} was busy for {waited:?}: {holder}; try again once that has ended"
    )]
    Busy {
        /// The busy container.
        container: ContainerId,
        /// What has the turn, and for how long.
        holder: String,
        /// How long the request waited.
        waited: Duration,
    },
    /// GC: the delegates of a network timed out.
    #[error("network {network:?}: GC did not finish within {waited:?} and was killed")]
    Collecting {
        /// `name` of the network.
        network: String,
        /// How long they ran.
        waited: Duration,
    },
    /// The request timed out.
    #[error("not finished within {0:?}")]
    Deadline(Duration),
    /// The request timed out, but continues in the background.
    #[error("not finished within {0:?}; it continues in the background")]
    Continues(Duration),
    /// An ADD failed, and some of its attachments could not be undone.
    #[error("{cause}; undoing it failed as well, the ledger has the remaining attachments")]
    NotUndone {
        /// Why the ADD failed: the error that is returned.
        #[source]
        cause: Box<Error>,
        /// What could not be undone.
        left: Vec<Error>,
    },
    /// A DEL failed for several attachments.
    #[error("{} attachments failed", .0.len())]
    Several(Vec<Error>),
}

/// Attachments from an earlier use of a container id that are still being removed.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "container {container} was attached before, and what it had{attachments} is still being removed: {reason}"
)]
pub struct Removing {
    /// The container with the reused id.
    pub container: ContainerId,
    /// Interfaces and networks, in brackets; empty if unknown.
    pub attachments: String,
    /// Why removal has not finished.
    pub reason: String,
}

impl Error {
    /// Combines the errors of an operation that continues past errors; `None` if there are none.
    pub(super) fn of_all(mut errors: Vec<Error>) -> Option<Error> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Error::Several(errors)),
        }
    }
}
