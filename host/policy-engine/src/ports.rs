//! What the engine needs from the daemon beside requests: knowledge for grants, and somebody who
//! counts.

use std::fmt::Debug;
use std::time::Duration;

use crate::generation::{Mode, PolicyInfo};
use crate::report::{Cause, Hook};

/// What policies with the grants `namespaces`, `nads` and `node` can look up.
///
/// Called in the middle of a guest's call: answers come from memory, never from the API server.
/// What is not known is `None`.
pub trait Cluster: Debug + Send + Sync {
    /// Policies of a generation that comes into force look these up. Called after each load, before
    /// its first request.
    fn needed(&self, needs: Needs);
    /// A label of a namespace.
    fn namespace_label(&self, namespace: &str, key: &str) -> Option<String>;
    /// An annotation of a namespace.
    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String>;
    /// The conf of a NAD as it is stored.
    fn nad_conf(&self, namespace: &str, name: &str) -> Option<String>;
    /// An annotation of a NAD.
    fn nad_annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String>;
    /// A label of the own node.
    fn node_label(&self, key: &str) -> Option<String>;
    /// An annotation of the own node.
    fn node_annotation(&self, key: &str) -> Option<String>;
}

/// What the policies of a generation look up beside the request: what nobody needs is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Namespaces, for a grant or to match their labels.
    pub namespaces: bool,
    /// The own node.
    pub node: bool,
}

/// Who counts what policies do. Called on the way of requests: cheap, and never blocks.
///
/// Names of policies, hooks, fields and metrics are of bounded number; nothing here names a pod.
pub trait Observer: Debug + Send + Sync {
    /// A policy answered in a hook, or failed to.
    fn evaluated(&self, evaluation: &Evaluation<'_>);
    /// A policy changed a field: a member of what the hook edits, such as `conf` or `result.dns`.
    fn edited(&self, policy: &str, hook: Hook, field: &str);
    /// A policy with the grant `metrics` adds to a counter of its own.
    fn counted(&self, policy: &str, name: &str, by: f64);
    /// A policy with the grant `metrics` observes a value of a histogram of its own.
    fn observed(&self, policy: &str, name: &str, value: f64);
    /// A request passed by the policies, although there are some.
    fn skipped(&self, reason: Skipped);
    /// A generation of policies is in force from now on.
    fn loaded(&self, generation: u64, policies: &[PolicyInfo]);
}

/// One call of one hook of one policy.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// Name of the policy.
    pub policy: &'a str,
    /// The hook.
    pub hook: Hook,
    /// Whether the answer counts.
    pub mode: Mode,
    /// The answer.
    pub verdict: Verdict,
    /// Wall clock of the call, instantiation included where it was the first of the request.
    pub duration: Duration,
}

/// Why a request passed by the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// The pod's namespace is exempt.
    ExemptNamespace,
    /// The node's bypass is on.
    Bypass,
}

impl Skipped {
    /// The name as metrics have it.
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
    /// The policy accepts, or has no say in the hook.
    Accept,
    /// The policy denies.
    Deny,
    /// The policy failed.
    Failed(Cause),
}

impl Verdict {
    /// The name as metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Deny => "deny",
            Self::Failed(cause) => cause.as_str(),
        }
    }
}
