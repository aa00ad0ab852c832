//! The points of a request where a policy runs: one trait each, implemented as needed.
//!
//! On ADD they run in the order [`Select`], then [`BeforeAdd`] and [`AfterAdd`] for each
//! attachment, then [`Finalize`]. Within a hook, policies run in name order, and each sees the
//! edits of earlier ones. Edits are applied when the hook accepts.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Attachment, Denial, Finding, Outcome, Plan, Request, Selections, ValidAttachment};

/// Accepts, or denies the request with a CNI error.
pub type Verdict = Result<(), Denial>;

/// A policy, created from its settings.
pub trait Policy: Sized + 'static {
    /// The `settings` in the policy's configuration, `{}` if absent. Reject unknown members
    /// (`#[serde(deny_unknown_fields)]`), so that typos are found at load time.
    type Settings: DeserializeOwned;

    /// Validates the settings and creates the policy. The host calls it when it loads the module,
    /// and for each instance: one per matching request, usually created ahead of it.
    ///
    /// # Errors
    /// What is wrong with the settings, for the operator; the policy does not load.
    fn new(settings: Self::Settings) -> Result<Self, String>;
}

/// Settings of a policy that has none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Runs once per ADD, before the selections are resolved: may add, drop, reorder and edit them.
pub trait Select: Policy {
    /// Handles the pod's selections, which do not include the default network.
    ///
    /// # Errors
    /// Denies the request.
    fn select(&self, request: &Request, networks: &Selections) -> Verdict;
}

/// Runs on ADD, for each attachment, before its delegate: may edit the conf, interface name,
/// runtime configuration and CNI args.
pub trait BeforeAdd: Policy {
    /// Handles one attachment.
    ///
    /// # Errors
    /// Denies the request; the attachments already made are undone.
    fn before_add(&self, request: &Request, attachment: &Attachment) -> Verdict;
}

/// Runs on ADD, for each attachment, after its delegate: may rewrite the result.
pub trait AfterAdd: Policy {
    /// Handles one attachment and its delegate's result.
    ///
    /// # Errors
    /// Denies the request; this attachment and those before it are undone.
    fn after_add(&self, request: &Request, attachment: &Attachment, outcome: &Outcome) -> Verdict;
}

/// Runs once per ADD, after all attachments: may edit network-status and the final result.
pub trait Finalize: Policy {
    /// Handles the whole plan and the result for the runtime.
    ///
    /// # Errors
    /// Denies the request; all attachments are undone.
    fn finalize(&self, request: &Request, plan: &Plan, outcome: &Outcome) -> Verdict;
}

/// Runs on CHECK, for each stored attachment.
pub trait Check: Policy {
    /// Handles one stored attachment and its result.
    ///
    /// # Errors
    /// Reports that the attachment is not in the expected state.
    fn check(&self, request: &Request, attachment: &Attachment, stored: &Outcome) -> Verdict;
}

/// Runs on STATUS.
pub trait Status: Policy {
    /// Reports whether the node is ready from this policy's point of view.
    ///
    /// # Errors
    /// The reason; STATUS fails with code 50 and this text.
    fn status(&self) -> Result<(), String>;
}

/// Runs on DEL, for each stored attachment. Cannot deny.
pub trait Del: Policy {
    /// Handles an attachment that is being removed. The pod, with its labels and annotations, may
    /// already be gone.
    fn del(&self, request: &Request, attachment: &Attachment) -> Vec<Finding>;
}

/// Runs on GC. Cannot deny.
pub trait Gc: Policy {
    /// Handles the list of attachments in use.
    fn gc(&self, valid: &[ValidAttachment]) -> Vec<Finding>;
}
