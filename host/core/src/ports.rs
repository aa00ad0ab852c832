//! What the pipeline needs from the outside, as traits that the adapters implement. Trait objects:
//! a port is called a few times per request, next to a fork and exec.

mod containers;
mod delegates;
mod devices;
mod ledger;
mod node_files;
mod pod_network;
mod rehearsal;
mod sandboxes;
mod standing;
mod wanted;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use cni_types::args::{Command, ContainerId, IfName};
use cni_types::result::CniResult;
use serde::Deserialize;

pub use self::wanted::{GiveUp, Wanted};
use crate::domain::attachment::Attachment;
use crate::domain::entry::Entry;
use crate::domain::metadata::Metadata;
use crate::domain::nad::Nad;
use crate::domain::networks::Networks;
use crate::domain::pod::{Pod, PodRef};
use crate::domain::resource_claim::{ResourceClaim, ResourceSlice};
use crate::domain::sandbox::Sandbox;

pub use containers::ContainerPods;
pub use delegates::{DelegateError, Delegates};
pub use devices::{DeviceInfo, Devices, DevicesError};
pub use ledger::{
    DeferredDel, Directory, Ledger, LedgerError, Listing, Lost, PendingUndo, Recorded, Remembered,
    Undo,
};
pub use node_files::{NodeFiles, NodeFilesError};
pub use pod_network::{AtPath, Inside, PodNetwork, PodNetworkError};
pub use rehearsal::{Action, Operation, PolicyAction, Rehearsal, RehearsalRecord};
pub use sandboxes::{Reservation, Reservations, Sandboxes, SandboxesError};
pub use standing::{Standing, StandingAttachment};

/// Pods, networks and their metadata, from the API server or a directory of manifests.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The pod of a request. Waits at most `patience` for it to appear.
    ///
    /// # Errors
    /// [`ClusterError::PodNotFound`] if it does not appear in time;
    /// [`ClusterError::UidMismatch`] if another pod has its name.
    async fn pod(&self, wanted: &PodRef, patience: Duration) -> Result<Pod, ClusterError>;

    /// Finds pods for runtimes that send less than a namespace and a name; `None` if every request
    /// must name its pod.
    fn containers(&self) -> Option<&dyn ContainerPods> {
        None
    }

    /// Returns a network attachment definition.
    ///
    /// # Errors
    /// [`ClusterError::NadNotFound`] if it does not exist.
    async fn nad(&self, namespace: &str, name: &str) -> Result<Nad, ClusterError>;

    /// Like [`Self::nad`], for a name that may also be a conf on the node. `None` if the definition
    /// does not exist; a current cache is authoritative.
    ///
    /// # Errors
    /// [`ClusterError`] if its existence cannot be determined.
    async fn nad_if_any(&self, namespace: &str, name: &str) -> Result<Option<Nad>, ClusterError> {
        match self.nad(namespace, name).await {
            Err(ClusterError::NadNotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns a resource claim, read from the server; by default none exists.
    ///
    /// # Errors
    /// [`ClusterError::ClaimNotFound`] if it does not exist.
    async fn resource_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<ResourceClaim, ClusterError> {
        Err(ClusterError::ClaimNotFound {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Returns the resource slices that a driver publishes; by default none.
    ///
    /// # Errors
    /// [`ClusterError::Unavailable`].
    async fn resource_slices(
        &self,
        _driver: &str,
        _reach: Reach,
    ) -> Result<Vec<ResourceSlice>, ClusterError> {
        Ok(Vec::new())
    }

    /// Writes the network-status annotation (JSON text), provided the pod is still `pod`.
    ///
    /// # Errors
    /// [`ClusterError`] if it was not written; the caller then rolls the ADD back.
    async fn set_network_status(&self, pod: &PodRef, status: &str) -> Result<(), ClusterError>;

    /// Returns a cached network attachment definition. Never waits.
    fn remembered_nad(&self, _namespace: &str, _name: &str) -> Option<Nad> {
        None
    }

    /// All cached network attachment definitions. Never waits.
    fn remembered_nads(&self) -> Vec<Nad> {
        Vec::new()
    }

    /// Starts caching namespaces; policies are going to read them.
    fn remember_namespaces(&self) {}

    /// Returns a cached namespace; `None` if it is not known (yet). Never waits.
    fn namespace(&self, _name: &str) -> Option<Metadata> {
        None
    }

    /// Starts caching this node; policies are going to read it.
    fn remember_node(&self, _name: &str) {}

    /// Returns a cached node; `None` if it is not known (yet). Never waits.
    fn node(&self, _name: &str) -> Option<Metadata> {
        None
    }

    /// Emits an Event on a pod. Never waits.
    fn event(&self, pod: &PodRef, event: Event);

    /// Whether the cluster can currently be queried.
    ///
    /// # Errors
    /// [`ClusterError::Unavailable`] with the reason, for STATUS.
    fn ready(&self) -> Result<(), ClusterError>;
}

/// Which nodes can use the devices of a resource slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// This node only.
    Node,
    /// Several nodes.
    Nodes,
}

/// Why the cluster returned no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The pod did not appear in time.
    #[error("pod {0} not found")]
    PodNotFound(PodRef),
    /// Another pod has the name of the request's pod.
    #[error("pod {pod} has uid {found}, the request is for uid {}", pod.uid)]
    UidMismatch {
        /// The request's pod.
        pod: PodRef,
        /// The uid of the pod that has this name now.
        found: String,
    },
    /// The network attachment definition does not exist.
    #[error("network attachment definition {namespace}/{name} not found")]
    NadNotFound {
        /// The namespace searched.
        namespace: String,
        /// The name searched.
        name: String,
    },
    /// The resource claim does not exist.
    #[error("resource claim {namespace}/{name} not found")]
    ClaimNotFound {
        /// The pod's namespace.
        namespace: String,
        /// The claim's name in the pod.
        name: String,
    },
    /// The object exists but is malformed.
    #[error("{object} is malformed: {reason}")]
    Malformed {
        /// Kind, namespace and name, or the file.
        object: String,
        /// What is malformed, and how.
        reason: String,
    },
    /// The API server or the directory is unreachable, perhaps only temporarily.
    #[error("the cluster cannot be queried: {0}")]
    Unavailable(String),
    /// The network-status could not be written.
    #[error("network-status of pod {pod} was not written: {reason}")]
    NotWritten {
        /// The pod whose status it is.
        pod: PodRef,
        /// What failed.
        reason: String,
    },
}

/// Identifies an attachment by container and interface, as GC does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Attached {
    /// `CNI_CONTAINERID` of its ADD.
    #[serde(rename = "containerID")]
    pub container_id: ContainerId,
    /// `CNI_IFNAME` of its ADD.
    #[serde(rename = "ifname")]
    pub if_name: IfName,
}

/// Type of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Expected.
    Normal,
    /// Needs attention.
    Warning,
}

/// An Event for the owner of a pod.
#[derive(Debug, Clone)]
pub struct Event {
    /// Normal or warning.
    pub kind: EventKind,
    /// One word in Kubernetes' style: `AddedInterface`.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

/// A policy denied the request, or failed and its failure policy is `closed`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("policy {policy:?} ({hook}): {message}")]
pub struct Denial {
    /// Name of the policy.
    pub policy: String,
    /// The running hook.
    pub hook: &'static str,
    /// CNI error code: 100 or above, or 11 if the policy is not loaded yet.
    pub code: u32,
    /// The reason, returned to the runtime.
    pub message: String,
    /// Additional details.
    pub details: Option<String>,
}

/// Why an ADD failed, for policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddFailure {
    /// The CNI error code of the policy or delegate, if one of them is the reason.
    pub code: Option<u32>,
    /// The reason.
    pub message: String,
    /// The policy that denied, and its hook.
    pub denied_by: Option<(String, &'static str)>,
}

/// The policies of the node.
#[async_trait]
pub trait Policies: Send + Sync {
    /// Begins a request for a pod with the generation loaded at this moment. `pod` is `None` where
    /// the pod is not looked up (DEL, CHECK).
    fn begin(
        &self,
        command: Command,
        sandbox: &Sandbox,
        pod: Option<&Pod>,
    ) -> Box<dyn PolicySession>;

    /// Like [`Self::begin`], for an ADD that is not made.
    fn rehearse(&self, sandbox: &Sandbox, pod: &Pod) -> Rehearsal;

    /// Runs the status hooks.
    ///
    /// # Errors
    /// [`Denial`] if a required policy is missing or a policy reports not ready.
    async fn status(&self) -> Result<(), Denial>;

    /// Releases the state that policies keep for a container without attachments.
    async fn release(&self, container: &ContainerId);

    /// Runs the gc hooks with the attachments in use. Cannot deny.
    async fn gc(&self, valid: &[Attached]);
}

/// A result after the policies.
#[derive(Debug, Clone)]
pub struct PolicyResult {
    /// The result, possibly rewritten.
    pub result: CniResult,
    /// Tags for network-status.
    pub tags: BTreeMap<String, String>,
}

/// The outcome of the finalize hook.
#[derive(Debug, Clone)]
pub struct Finale {
    /// For the runtime. The tags belong to the default network.
    pub outcome: PolicyResult,
    /// What network-status shows for each attachment, in plan order.
    pub shown: Vec<PolicyResult>,
}

/// Runs the policies for one request. The hooks are called in the order of the methods.
#[async_trait]
pub trait PolicySession: Send {
    /// Runs the select hook on the pod's networks, before they are resolved, and validates the
    /// result.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn select(&mut self, networks: Networks) -> Result<Networks, Denial>;

    /// Announces the whole plan, before the before-add hook runs on its attachments.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn plan(&mut self, attachments: &[Attachment]) -> Result<(), Denial>;

    /// Runs the before-add hook on one attachment, before its delegate. `None` if a policy leaves
    /// the network out.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn before_add(&mut self, attachment: Attachment) -> Result<Option<Attachment>, Denial>;

    /// Validates the plan as a whole after all before-add hooks, before it is recorded.
    ///
    /// # Errors
    /// [`Denial`]; nothing was changed.
    async fn settle(&mut self, plan: &[Attachment]) -> Result<(), Denial>;

    /// Runs the after-add hook on a delegate's result.
    ///
    /// # Errors
    /// [`Denial`]; the caller rolls the ADD back.
    async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<PolicyResult, Denial>;

    /// Validates the outcome of an attachment to a running pod, after the after-add hook.
    ///
    /// # Errors
    /// [`Denial`]; the caller rolls the ADD back.
    async fn validate_plugged(
        &mut self,
        attachment: &Attachment,
        outcome: &PolicyResult,
    ) -> Result<(), Denial>;

    /// Runs the finalize hook on the plan, the result for the runtime, and each attachment's result
    /// for network-status, and validates the outcome.
    ///
    /// # Errors
    /// [`Denial`]; the caller rolls the ADD back.
    async fn finalize(
        &mut self,
        plan: &[Attachment],
        result: CniResult,
        shown: Vec<CniResult>,
    ) -> Result<Finale, Denial>;

    /// Runs the check hook on a recorded attachment.
    ///
    /// # Errors
    /// [`Denial`] if a policy reports an error.
    async fn check(&mut self, entry: &Entry) -> Result<(), Denial>;

    /// Runs the del hook on an attachment that is being removed. Cannot deny.
    async fn del(&mut self, entry: &Entry);

    /// Runs the add-failed hook, after what the ADD had attached is undone. `plan` is empty if there
    /// was none. Cannot deny.
    async fn add_failed(&mut self, plan: &[Attachment], why: AddFailure);

    /// Marks the ADD as successful: state that policies bound to it is kept. Otherwise dropping the
    /// session releases that state.
    fn succeed(&mut self);
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It succeeded.
    Success,
    /// A policy denied it.
    Denied,
    /// It failed for another reason.
    Failure,
}

/// Counts requests.
pub trait Meter: Send + Sync {
    /// Called once per well-formed request. `verb` is the CNI command.
    fn answered(&self, verb: &'static str, answered: Answered, took: Duration);

    /// Called when the daemon gives up undoing an attachment that may have left something behind.
    fn gave_up(&self);

    /// Called when the daemon collects an attachment or an address whose container has no sandbox.
    fn collected(&self, kind: &'static str) {
        let _ = kind;
    }
}
