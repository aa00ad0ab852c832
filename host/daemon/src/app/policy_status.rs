//! The state of this node's policies in the cluster: what the policy engine says, in the words of
//! the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cnidaria_kube::{Mode, NodePolicies, NodePolicy, Pace, PolicyStatus, State};
use policy_engine::{Evaluation, Hook, LoadState, Observer, PolicyHost, PolicyInfo, Skipped};
use tokio::sync::watch;
use tokio::time::timeout;

use super::App;

/// Poll interval of the bypass file's removal, while a request has bypassed the policies.
const BYPASS_LOOK: Duration = Duration::from_secs(5);

/// How long a daemon that ends waits for the API server.
const PATIENCE: Duration = Duration::from_secs(2);

/// An observer that passes everything on, and notices what the cluster is to show.
#[derive(Debug)]
pub(super) struct Noticing {
    inner: Arc<dyn Observer>,
    changes: watch::Sender<()>,
    /// Whether requests are known to bypass all policies.
    is_bypassed: AtomicBool,
}

impl Noticing {
    pub(super) fn of(inner: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            changes: watch::Sender::new(()),
            is_bypassed: AtomicBool::new(false),
        })
    }

    /// Publishes the policies now and whenever they change, forever.
    pub(super) async fn publish(&self, policies: &PolicyHost, status: &PolicyStatus) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let is_bypassed = policies.config().bypass_file.as_ref();
            let is_bypassed = is_bypassed.is_some_and(|file| file.exists());
            self.is_bypassed.store(is_bypassed, Ordering::Relaxed);
            let current = policies.current();
            status.publish(NodePolicies {
                generation: current.number(),
                is_bypassed,
                policies: current.policies().into_iter().map(published).collect(),
            });
            let next = changes.changed();
            // The sender lives as long as this.
            let _ = match is_bypassed {
                true => timeout(BYPASS_LOOK, next).await.unwrap_or(Ok(())),
                false => next.await,
            };
        }
    }
}

impl Observer for Noticing {
    fn evaluated(&self, evaluation: &Evaluation<'_>) {
        self.inner.evaluated(evaluation);
    }

    fn edited(&self, policy: &str, hook: Hook, field: &str) {
        self.inner.edited(policy, hook, field);
    }

    fn counted(&self, policy: &str, name: &str, by: f64) {
        self.inner.counted(policy, name, by);
    }

    fn observed(&self, policy: &str, name: &str, value: f64) {
        self.inner.observed(policy, name, value);
    }

    fn skipped(&self, reason: Skipped) {
        self.inner.skipped(reason);
        if reason == Skipped::Bypass {
            let is_known = self.is_bypassed.swap(true, Ordering::Relaxed);
            self.changes.send_if_modified(|()| !is_known);
        }
    }

    fn state_damaged(&self, policy: &str) {
        self.inner.state_damaged(policy);
    }

    fn loaded(&self, generation: u64, policies: &[PolicyInfo]) {
        self.inner.loaded(generation, policies);
        self.changes.send_replace(());
    }
}

impl App {
    /// Shows the state of the policies in the cluster, forever; returns at once if it is not to.
    pub(super) async fn show_policies(&self) {
        let (Some(kube), Some(noticing)) = (&self.kube, &self.noticing) else {
            return;
        };
        if let Some(status) = kube.policy_status(env!("CARGO_PKG_VERSION"), Pace::default()) {
            noticing.publish(&self.policies, &status).await;
        }
    }

    /// Takes it out of the cluster, which a daemon that is uninstalled does.
    pub(super) async fn hide_policies(&self) {
        let (Some(kube), Some(_)) = (&self.kube, &self.noticing) else {
            return;
        };
        let client = kube.client();
        if let Err(error) = client.delete_policy_status(&self.node_name, PATIENCE).await {
            tracing::warn!(node = self.node_name, %error, "the PolicyNodeStatus of this node stays in the cluster");
        }
    }
}

/// A policy in the words of the API.
fn published(policy: PolicyInfo) -> NodePolicy {
    NodePolicy {
        name: policy.name,
        state: match policy.state {
            LoadState::Loaded => State::Loaded,
            LoadState::Stale => State::Stale,
            LoadState::Loading => State::Pending,
            LoadState::Broken => State::Failed,
            LoadState::Quarantined => State::Quarantined,
            LoadState::Off => State::Off,
        },
        mode: match policy.mode {
            policy_engine::Mode::Enforce => Mode::Enforce,
            policy_engine::Mode::Audit => Mode::Audit,
            policy_engine::Mode::Off => Mode::Off,
        },
        digest: policy.digest,
        load: policy.load,
        reason: policy.last_error,
    }
}
