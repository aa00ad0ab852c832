//! The state of this node's policies as an object of the cluster, `PolicyNodeStatus`: written in the
//! background when it changes, and never on the way of a request.

mod object;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use object::Published;
pub(crate) use object::path;

use super::call::Caller;
use writer::Writer;

/// The policies of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodePolicies {
    /// Loads of the policies in which something had changed.
    pub generation: u64,
    /// Whether a file on the node makes requests bypass all policies.
    pub is_bypassed: bool,
    /// The policies, by name.
    pub policies: Vec<NodePolicy>,
}

/// A policy of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePolicy {
    pub name: String,
    /// Whether it is in force.
    pub state: State,
    pub mode: Mode,
    /// Digest of its module, if it could be read.
    pub digest: Option<String>,
    /// How often it was loaded, each time with other files.
    pub load: u64,
    /// Why it is not loaded as its newest files say.
    pub reason: Option<String>,
}

/// Whether a policy is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As its files say.
    Loaded,
    /// As last loaded: its newest files do not load.
    Stale,
    /// Its module is still being compiled.
    Pending,
    /// It does not load.
    Failed,
    /// Its module ended a daemon.
    Quarantined,
    /// Switched off.
    Off,
}

/// A policy's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It may deny and edit.
    Enforce,
    /// It only logs.
    Audit,
    /// It does not run.
    Off,
}

/// How often the object is written.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long changes are collected before they are written.
    pub settle: Duration,
    /// Minimum interval between two writes.
    pub interval: Duration,
    /// Pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// Upper bound of the pauses.
    pub last_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(1),
            interval: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            last_pause: Duration::from_secs(300),
        }
    }
}

/// Publishes the state of this node's policies. Stops when dropped.
#[derive(Debug)]
pub struct PolicyStatus {
    latest: watch::Sender<NodePolicies>,
    /// Whether anything was published, since a node without policies is news as well.
    is_begun: AtomicBool,
    task: AbortHandle,
}

impl PolicyStatus {
    pub(crate) fn start(caller: Caller, node: String, version: &'static str, pace: Pace) -> Self {
        let latest = watch::Sender::new(NodePolicies::default());
        let writer = Writer::new(caller, node, version, pace, latest.subscribe());
        let task = tokio::spawn(writer.run()).abort_handle();
        Self {
            latest,
            is_begun: AtomicBool::new(false),
            task,
        }
    }

    /// Takes the current state over, without waiting. Only the latest one is written.
    pub fn publish(&self, policies: NodePolicies) {
        self.latest.send_if_modified(|latest| {
            let is_new = !self.is_begun.swap(true, Ordering::Relaxed) || *latest != policies;
            *latest = policies;
            is_new
        });
    }
}

impl Drop for PolicyStatus {
    fn drop(&mut self) {
        self.task.abort();
    }
}
