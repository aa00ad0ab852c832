//! What the engine needs from the daemon: cluster lookups for grants, and an observer for metrics.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::model::policy::{Mode, PolicyInfo};
use crate::model::report::{Cause, Hook};

/// Lookups for policies with the grants `attachments`, `namespaces`, `nads` and `node`.
///
/// Called during guest calls: answer from memory, never from the API server; `None` if unknown.
pub trait Cluster: Debug + Send + Sync {
    /// Announces what a new generation looks up. Called after each load, before its first request.
    fn needed(&self, needs: Needs);
    /// A label of a namespace.
    fn namespace_label(&self, namespace: &str, key: &str) -> Option<String>;
    /// All labels of a namespace.
    fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String>;
    /// An annotation of a namespace.
    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String>;
    /// All annotations of a namespace.
    fn namespace_annotations(&self, namespace: &str) -> BTreeMap<String, String>;
    /// The stored conf of a NAD.
    fn nad_conf(&self, namespace: &str, name: &str) -> Option<String>;
    /// An annotation of a NAD.
    fn nad_annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String>;
    /// All annotations of a NAD.
    fn nad_annotations(&self, namespace: &str, name: &str) -> BTreeMap<String, String>;
    /// Visits the attachments that stand on this node, from the one after `after`, in a fixed order:
    /// what `after` names it by, and the attachment. Returns whether they are known.
    fn attachments(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, NodeAttachment<'_>) -> ControlFlow<()>,
    ) -> bool {
        let _ = (after, visit);
        false
    }
    /// A label of this node.
    fn node_label(&self, key: &str) -> Option<String>;
    /// All labels of this node.
    fn node_labels(&self) -> BTreeMap<String, String>;
    /// An annotation of this node.
    fn node_annotation(&self, key: &str) -> Option<String>;
    /// All annotations of this node.
    fn node_annotations(&self) -> BTreeMap<String, String>;
}

/// An attachment that stands on this node.
#[derive(Debug, Clone, Copy)]
pub struct NodeAttachment<'a> {
    /// `CNI_CONTAINERID`.
    pub container_id: &'a str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The network's name as in network-status.
    pub network: &'a str,
    /// The interface's name in the pod.
    pub if_name: &'a str,
    /// Its addresses, as CIDRs.
    pub ips: &'a [String],
    /// Its MAC, in canonical form.
    pub mac: Option<&'a str>,
    /// The tags that policies set.
    pub tags: &'a BTreeMap<String, String>,
}

/// What the policies of a generation look up beside the request, and the daemon must watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Namespaces, for the grant or to match their labels.
    pub namespaces: bool,
    /// This node.
    pub node: bool,
    /// The attachments that stand on this node.
    pub attachments: bool,
    /// Labels and annotations of a request's pod, which any policy may match or read.
    pub pod: bool,
}

/// Counts what policies do. Called while requests are served, so it must be cheap and never block.
///
/// The names of policies, hooks, fields and metrics have bounded cardinality; none names a pod.
pub trait Observer: Debug + Send + Sync {
    /// A hook call ended, with an answer or a failure.
    fn evaluated(&self, evaluation: &Evaluation<'_>);
    /// A policy changed a field of what the hook edits, such as `conf` or `result.dns`.
    fn edited(&self, policy: &str, hook: Hook, field: &str);
    /// A policy with the grant `metrics` increased one of its counters.
    fn counted(&self, policy: &str, name: &str, by: f64);
    /// A policy with the grant `metrics` recorded a value in one of its histograms.
    fn observed(&self, policy: &str, name: &str, value: f64);
    /// A request bypassed existing policies.
    fn skipped(&self, reason: Skipped);
    /// The file of a policy's state was damaged when it was read.
    fn state_damaged(&self, policy: &str);
    /// A new generation of policies is in force.
    fn loaded(&self, generation: u64, policies: &[PolicyInfo]);
}

/// One call of one hook of one policy.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// Name of the policy.
    pub policy: &'a str,
    pub hook: Hook,
    /// The policy's mode.
    pub mode: Mode,
    /// How the call ended.
    pub verdict: Verdict,
    /// Wall clock of the call, including instantiation on the first call of the request.
    pub duration: Duration,
}

/// Why a request bypassed the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// The pod's namespace is exempt.
    ExemptNamespace,
    /// The node's bypass is on.
    Bypass,
}

impl Skipped {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExemptNamespace => "exempt-namespace",
            Self::Bypass => "bypass",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The policy accepted, or the hook has no verdict.
    Accept,
    Deny,
    Failed(Cause),
}

impl Verdict {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Deny => "deny",
            Self::Failed(cause) => cause.as_str(),
        }
    }
}
