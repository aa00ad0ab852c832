//! The points of a request where a policy runs: one trait each, implemented as needed.
//!
//! On ADD they run in this order:
//!
//! 1. [`Select`], and after all policies' [`ValidateSelections`];
//! 2. [`BeforeAdd`] for each attachment; all of them before the first plugin runs; then
//!    [`ValidatePlan`];
//! 3. for each attachment its plugins, then [`AfterAdd`];
//! 4. [`Finalize`], and after all policies' [`ValidateResult`];
//! 5. [`AddFailed`] if the ADD failed, when what it had attached is undone.
//!
//! Within a hook, policies run in name order, and each sees the edits of earlier ones. Edits are
//! applied when the hook accepts. A validating hook sees what all policies left and edits nothing, so
//! no policy that runs later can undo what it guards.
//!
//! All hooks of one request run in one instance: what a hook keeps in a static or in a `Cell` of the
//! policy is there for the later hooks of this request, and gone afterwards.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{
    Attachment, Denial, Failure, Finding, Outcome, Plan, Request, Selections, ValidAttachment,
};

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

/// Runs once per ADD, before the selections are resolved: may add, drop, reorder and edit them, and
/// set the default network.
pub trait Select: Policy {
    /// Handles the pod's selections and those that the node gives to every pod.
    ///
    /// # Errors
    /// Denies the request.
    fn select(&self, request: &Request, networks: &Selections) -> Verdict;
}

/// Runs once per ADD, after [`Select`] of all policies: sees what they left, edits nothing.
pub trait ValidateSelections: Policy {
    /// Handles the final selections.
    ///
    /// # Errors
    /// Denies the request.
    fn validate_selections(&self, request: &Request, networks: &Selections) -> Verdict;
}

/// Runs on ADD, for each attachment, for all of them before the first delegate runs: may edit the
/// conf, interface name, runtime configuration and CNI args, or skip the network.
pub trait BeforeAdd: Policy {
    /// Handles one attachment. `plan` has all of them: the earlier ones as policies left them, the
    /// later ones as resolved.
    ///
    /// # Errors
    /// Denies the request. Nothing is attached yet.
    fn before_add(&self, request: &Request, attachment: &Attachment, plan: &Plan) -> Verdict;
}

/// Runs once per ADD, after [`BeforeAdd`] of all policies for all attachments: sees what they left,
/// edits nothing.
pub trait ValidatePlan: Policy {
    /// Handles the final attachments.
    ///
    /// # Errors
    /// Denies the request. Nothing is attached yet.
    fn validate_plan(&self, request: &Request, plan: &Plan) -> Verdict;
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

/// Runs once per ADD, after [`Finalize`] of all policies: sees what they left, edits nothing.
pub trait ValidateResult: Policy {
    /// Handles the whole plan and the final result; [`Plan::status`] has each attachment's.
    ///
    /// # Errors
    /// Denies the request; all attachments are undone.
    fn validate_result(&self, request: &Request, plan: &Plan, outcome: &Outcome) -> Verdict;
}

/// Runs on an ADD that failed, when what it had attached is undone. Cannot deny.
pub trait AddFailed: Policy {
    /// Handles the failed ADD. The plan is empty if the ADD failed before there was one.
    fn add_failed(&self, request: &Request, plan: &Plan, failure: &Failure) -> Vec<Finding>;
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
    /// Handles an attachment that is being removed, and what its delegate had answered, with the
    /// tags of policies. The pod, with its labels and annotations, may already be gone.
    fn del(&self, request: &Request, attachment: &Attachment, stored: &Outcome) -> Vec<Finding>;
}

/// Runs on GC. Cannot deny.
pub trait Gc: Policy {
    /// Handles the list of attachments in use.
    fn gc(&self, valid: &[ValidAttachment]) -> Vec<Finding>;
}
