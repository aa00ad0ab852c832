//! What the pipeline needs of the world, as traits. Adapters implement them; a port is called a few
//! times a request, beside a fork and exec, so they are trait objects.

mod containers;
mod devices;
mod ledger;
mod wanted;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cni_types::args::{Command, ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::error::CniError;
use cni_types::result::CniResult;
use shim_api::deferred::NetnsId;

pub use self::wanted::{GiveUp, Wanted};
use crate::domain::attachment::Attachment;
use crate::domain::entry::{Entry, FailedAdd};
use crate::domain::metadata::Metadata;
use crate::domain::nad::Nad;
use crate::domain::namespace::Namespace;
use crate::domain::pod::{Pod, PodRef};
use crate::domain::resource_claim::{ResourceClaim, ResourceSlice};
use crate::domain::sandbox::Sandbox;
use crate::domain::selection::Selection;

pub use containers::ContainerPods;
pub use devices::{DeviceInfo, Devices, DevicesError};
pub use ledger::{Ledger, LedgerError, Listing, Lost, PendingUndo, Undo};

/// Pods, networks and what is said of them: the API server, or a directory of manifests.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The pod of a request. Waits at most `patience` for one that is not there yet.
    ///
    /// # Errors
    /// [`ClusterError::PodNotFound`] when it is not there after that; [`ClusterError::UidMismatch`]
    /// when another pod has its name.
    async fn pod(&self, wanted: &PodRef, patience: Duration) -> Result<Pod, ClusterError>;

    /// How to find pods of containers whose runtimes send less than a namespace and a name; `None` where
    /// every request has to name its pod.
    fn containers(&self) -> Option<&dyn ContainerPods> {
        None
    }

    /// A network attachment definition.
    ///
    /// # Errors
    /// [`ClusterError::NadNotFound`] when there is none of that name.
    async fn nad(&self, namespace: &str, name: &str) -> Result<Nad, ClusterError>;

    /// The same for a name that may also be that of a conf on the node. `None` if the definition does not
    /// exist; a current cache is authoritative.
    ///
    /// # Errors
    /// [`ClusterError`] when it is not known whether there is one.
    async fn nad_if_any(&self, namespace: &str, name: &str) -> Result<Option<Nad>, ClusterError> {
        match self.nad(namespace, name).await {
            Err(ClusterError::NadNotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// A resource claim, as the server has it now.
    ///
    /// # Errors
    /// [`ClusterError::ClaimNotFound`] when there is none of that name.
    async fn resource_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<ResourceClaim, ClusterError>;

    /// The slices by which a driver publishes devices.
    ///
    /// # Errors
    /// [`ClusterError::Unavailable`].
    async fn resource_slices(
        &self,
        driver: &str,
        reach: Reach,
    ) -> Result<Vec<ResourceSlice>, ClusterError>;

    /// Writes the network-status annotation, JSON text, on condition that the pod is still `pod`.
    ///
    /// # Errors
    /// [`ClusterError`] when it is not written; the ADD is then rolled back.
    async fn set_network_status(&self, pod: &PodRef, status: &str) -> Result<(), ClusterError>;

    /// A network attachment definition as it is in memory. Never waits.
    fn remembered_nad(&self, _namespace: &str, _name: &str) -> Option<Nad> {
        None
    }

    /// Somebody is going to ask for namespaces. Until then they need not be known.
    fn remember_namespaces(&self) {}

    /// A namespace as it is in memory; `None` where it is not known (yet). Never waits.
    fn namespace(&self, _name: &str) -> Option<Metadata> {
        None
    }

    /// Somebody is going to ask for this node. Until then it need not be known.
    fn remember_node(&self, _name: &str) {}

    /// A node as it is in memory; `None` where it is not known (yet). Never waits.
    fn node(&self, _name: &str) -> Option<Metadata> {
        None
    }

    /// Reports something about a pod to its owner. Never waits.
    fn event(&self, pod: &PodRef, event: Event);

    /// Whether requests can be answered at present.
    ///
    /// # Errors
    /// [`ClusterError::Unavailable`] with the reason, for STATUS.
    fn ready(&self) -> Result<(), ClusterError>;
}

/// Who can use the devices of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// This node alone.
    Node,
    /// More nodes than one.
    Nodes,
}

/// Why the cluster gave no answer, or none that is of use.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No such pod, after waiting for it.
    #[error("pod {0} not found")]
    PodNotFound(PodRef),
    /// A pod of that name, but not the one that the request is for.
    #[error("pod {pod} has uid {found}, the request is for uid {}", pod.uid)]
    UidMismatch {
        /// The pod that the request is for.
        pod: PodRef,
        /// The uid of the pod that has its name now.
        found: String,
    },
    /// No such network attachment definition.
    #[error("network attachment definition {namespace}/{name} not found")]
    NadNotFound {
        /// Namespace that was searched.
        namespace: String,
        /// Name that was searched.
        name: String,
    },
    /// No such resource claim.
    #[error("resource claim {namespace}/{name} not found")]
    ClaimNotFound {
        /// Namespace of the pod.
        namespace: String,
        /// Name that the pod tells.
        name: String,
    },
    /// The object is there and cannot be understood.
    #[error("{object} is malformed: {reason}")]
    Malformed {
        /// Kind, namespace and name, or the file.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// The API server or the directory cannot be reached; it may be later.
    #[error("the cluster cannot be asked: {0}")]
    Unavailable(String),
    /// The status could not be written.
    #[error("network-status of pod {pod} was not written: {reason}")]
    NotWritten {
        /// The pod that it is about.
        pod: PodRef,
        /// What went wrong.
        reason: String,
    },
}

/// Which attachment: a container and an interface, as GC speaks of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attached {
    /// `CNI_CONTAINERID` of its ADD.
    pub container_id: ContainerId,
    /// `CNI_IFNAME` of its ADD.
    pub if_name: IfName,
}

/// The network of a pod, from inside.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Looks into the namespace of an ADD: which one it is, and which of `names` are names of
    /// interfaces in it already.
    ///
    /// # Errors
    /// [`PodNetworkError`] when there is no such namespace, or it is the node's own.
    async fn look(&self, netns: &Path, names: &[IfName]) -> Result<Inside, PodNetworkError>;

    /// What is at a path now, before a delegate is sent there.
    ///
    /// # Errors
    /// [`PodNetworkError`] when the system does not tell.
    async fn at(&self, netns: &Path) -> Result<AtPath, PodNetworkError>;

    /// Whether the node was started again since this namespace was recorded.
    fn is_of_earlier_boot(&self, namespace: &Namespace) -> bool;

    /// Device and inode of the file at a path; `None` if it does not exist.
    async fn identity(&self, netns: &Path) -> Option<NetnsId>;

    /// Makes `gateway` on `if_name` the one default route of its address family.
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

/// A namespace that was looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Which namespace.
    pub namespace: Namespace,
    /// Names that interfaces have already.
    pub existing: Vec<IfName>,
}

/// What is at the path of a network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtPath {
    /// No network namespace.
    Nothing,
    /// The daemon's own namespace or the node's, in which no delegate of a pod may run.
    Node,
    /// Any other.
    Pod(Namespace),
}

/// Why the network of a pod could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// The namespace is not there, or is none.
    #[error("network namespace {path}")]
    Namespace {
        /// `CNI_NETNS`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The path leads to the node's own network.
    #[error("network namespace {0} is the node's own, not a pod's")]
    Node(PathBuf),
    /// The kernel refused.
    #[error("{action} in network namespace {path}: {reason}")]
    Netlink {
        /// What was tried.
        action: String,
        /// `CNI_NETNS`.
        path: PathBuf,
        /// What the kernel said.
        reason: String,
    },
}

/// Whether an event is a matter of course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something that the owner of a pod should know.
#[derive(Debug, Clone)]
pub struct Event {
    /// How much it matters.
    pub kind: EventKind,
    /// One word, as Kubernetes has reasons: `AddedInterface`.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

/// What policies, or what became of them, say no to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("policy {policy:?} ({hook}): {message}")]
pub struct Denial {
    /// Name of the policy.
    pub policy: String,
    /// The hook that was running.
    pub hook: &'static str,
    /// CNI error code: 100 or above, or 11 where the policy is not loaded yet.
    pub code: u32,
    /// The reason, for the runtime and for people.
    pub message: String,
    /// More for people.
    pub details: Option<String>,
}

/// The policies of the node.
#[async_trait]
pub trait Policies: Send + Sync {
    /// Begins a request about a pod; it keeps the policies that are loaded at this moment. `pod` is
    /// `None` where nobody was asked for it (DEL, CHECK).
    fn begin(
        &self,
        command: Command,
        sandbox: &Sandbox,
        pod: Option<&Pod>,
    ) -> Box<dyn PolicySession>;

    /// Asks whether the node is ready, as far as policies are concerned.
    ///
    /// # Errors
    /// [`Denial`] when a policy that must be there is not, or one says no.
    async fn status(&self) -> Result<(), Denial>;

    /// Lets go of what policies keep for a container, which has no attachments any more.
    async fn release(&self, container: &ContainerId);

    /// Tells which attachments are in use. Cannot refuse.
    async fn gc(&self, valid: &[Attached]);
}

/// What policies leave of a result.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The result, rewritten or not.
    pub result: CniResult,
    /// For network-status.
    pub tags: BTreeMap<String, String>,
}

/// What the finalize hook leaves.
#[derive(Debug, Clone)]
pub struct Finale {
    /// For the runtime. Its tags belong to the default network.
    pub outcome: Outcome,
    /// What network-status says of each attachment, in the order of the plan.
    pub shown: Vec<Outcome>,
}

/// One request's way through the policies. Hooks are called in the order of the methods.
#[async_trait]
pub trait PolicySession: Send {
    /// Offers what the pod asks for, before it is resolved.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn select(&mut self, selections: Vec<Selection>) -> Result<Vec<Selection>, Denial>;

    /// Offers one attachment, before its delegate runs.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn before_add(&mut self, attachment: Attachment) -> Result<Attachment, Denial>;

    /// Shows the plan that is going to be recorded, when all its attachments were offered: what the
    /// policies made of it has to hold as a whole.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn settle(&mut self, plan: &[Attachment]) -> Result<(), Denial>;

    /// Offers what a delegate answered.
    ///
    /// # Errors
    /// [`Denial`]; the ADD is rolled back.
    async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<Outcome, Denial>;

    /// Offers the whole plan, the result that the runtime is going to get, and for each attachment
    /// the result that network-status is made from.
    ///
    /// # Errors
    /// [`Denial`]; the ADD is rolled back.
    async fn finalize(
        &mut self,
        plan: &[Attachment],
        result: CniResult,
        shown: Vec<CniResult>,
    ) -> Result<Finale, Denial>;

    /// Shows a recorded attachment on CHECK.
    ///
    /// # Errors
    /// [`Denial`] when it is not as it should be.
    async fn check(&mut self, entry: &Entry) -> Result<(), Denial>;

    /// Tells of an attachment that goes away. Cannot refuse.
    async fn del(&mut self, entry: &Entry);

    /// The ADD has succeeded: what policies keep bound to it stays. Without this call it goes with the
    /// session.
    fn succeed(&mut self);
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// With what it asked for.
    Success,
    /// A policy said no.
    Denied,
    /// With any other error.
    Failure,
}

/// Counts requests.
pub trait Meter: Send + Sync {
    /// Told once for each request that was understood. `verb` is the name of a CNI command.
    fn answered(&self, verb: &'static str, answered: Answered, took: Duration);

    /// Called when the daemon stops trying to undo an attachment that may have left something.
    fn gave_up(&self);
}

/// Executes delegates.
#[async_trait]
pub trait Delegates: Send + Sync {
    /// Adds one attachment and gives the result of the last plugin of its chain. Once that is not
    /// `wanted` any more, no further plugin is executed; the one that runs may end. Dropping the
    /// future kills it.
    ///
    /// # Errors
    /// [`DelegateError`], after which parts of the chain may have been added.
    async fn add(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<CniResult, DelegateError>;

    /// Checks one attachment against the result that ADD had.
    ///
    /// # Errors
    /// [`DelegateError`] when it is not as ADD left it.
    async fn check(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError>;

    /// Asks the delegates of a network whether they can add attachments.
    ///
    /// # Errors
    /// [`DelegateError`] with the delegate's own code, 50 or 51.
    async fn status(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
    ) -> Result<(), DelegateError>;

    /// Lets the delegates of a network remove what belongs to no attachment of `valid`.
    ///
    /// # Errors
    /// All errors; one delegate's does not keep others from being executed.
    async fn gc(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>>;

    /// Removes one attachment; of what is gone already it removes nothing and succeeds. Of an ADD that
    /// gave no result it removes what its plugins allow, each on its own; the failures of those that
    /// made nothing ([`Entry::made_nothing`]) are no errors, and are given.
    ///
    /// # Errors
    /// [`DelegateError`] when something may have stayed behind.
    async fn del(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
    ) -> Result<Vec<DelegateError>, DelegateError>;
}

/// A delegate that failed, could not be executed, or did not finish in time.
#[derive(Debug, thiserror::Error)]
#[error("network {network:?}: {error}")]
pub struct DelegateError {
    /// The network as network-status calls it.
    pub network: String,
    /// Code, message and details: the delegate's own where it gave them.
    pub error: CniError,
    /// Whether any delegate ran, so that there may be something to undo.
    pub executed: bool,
    /// Whether it did not finish within its deadline and was killed.
    pub timed_out: bool,
    /// Which plugin failed, and whether it refused by itself; `None` where it was none of them.
    pub failed_at: Option<FailedAdd>,
}
