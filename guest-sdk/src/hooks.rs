//! The points of a request at which a policy runs: one trait each, implemented as needed.
//!
//! On ADD they run in the order [`Select`], then [`BeforeAdd`] and [`AfterAdd`] for each attachment
//! in turn, then [`Finalize`]. Within one hook the policies of the node run in the order of their
//! names, each sees the edits of those before it. Edits count when the hook accepts.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Attachment, Denial, Finding, Outcome, Plan, Request, Selections, ValidAttachment};

/// Accept, or deny the request with a CNI error.
pub type Verdict = Result<(), Denial>;

/// A policy, made from its settings.
pub trait Policy: Sized + 'static {
    /// The `settings` of the policy's configuration, `{}` where it has none. Let it refuse unknown
    /// members (`#[serde(deny_unknown_fields)]`), so that a typo is found at load.
    type Settings: DeserializeOwned;

    /// Checks the settings and makes the policy. Called when the module is loaded, and again for
    /// each instance that is made: one for each request that meets the policy, most of them before
    /// that request is there.
    ///
    /// # Errors
    /// What is wrong with the settings, for the operator: the policy does not load.
    fn new(settings: Self::Settings) -> Result<Self, String>;
}

/// The settings of a policy that has none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Runs on ADD, once, before the selections are resolved: may add, drop, reorder and edit them.
pub trait Select: Policy {
    /// Looks at the selections of the pod; the default network is not among them.
    ///
    /// # Errors
    /// Denies the request.
    fn select(&self, request: &Request, networks: &Selections) -> Verdict;
}

/// Runs on ADD, for each attachment, before its delegate: may edit conf, interface name, runtime
/// configuration and CNI args.
pub trait BeforeAdd: Policy {
    /// Looks at one attachment.
    ///
    /// # Errors
    /// Denies the request; attachments that stand already are removed.
    fn before_add(&self, request: &Request, attachment: &Attachment) -> Verdict;
}

/// Runs on ADD, for each attachment, after its delegate: may rewrite the result.
pub trait AfterAdd: Policy {
    /// Looks at one attachment and what its delegate answered.
    ///
    /// # Errors
    /// Denies the request; this attachment and those before it are removed.
    fn after_add(&self, request: &Request, attachment: &Attachment, outcome: &Outcome) -> Verdict;
}

/// Runs on ADD, once, when all attachments stand: may edit network-status and the final result.
pub trait Finalize: Policy {
    /// Looks at the whole plan and the result for the runtime.
    ///
    /// # Errors
    /// Denies the request; all attachments are removed.
    fn finalize(&self, request: &Request, plan: &Plan, outcome: &Outcome) -> Verdict;
}

/// Runs on CHECK, for each stored attachment.
pub trait Check: Policy {
    /// Looks at one stored attachment and its stored result.
    ///
    /// # Errors
    /// Reports that the attachment is not as it should be.
    fn check(&self, request: &Request, attachment: &Attachment, stored: &Outcome) -> Verdict;
}

/// Runs on STATUS.
pub trait Status: Policy {
    /// Says whether the node is ready as far as this policy is concerned.
    ///
    /// # Errors
    /// Why not: STATUS answers with code 50 and this text.
    fn status(&self) -> Result<(), String>;
}

/// Runs on DEL, for each stored attachment. Cannot refuse.
pub trait Del: Policy {
    /// Learns of an attachment that goes away. The pod may be gone already, and with it its labels
    /// and annotations.
    fn del(&self, request: &Request, attachment: &Attachment) -> Vec<Finding>;
}

/// Runs on GC. Cannot refuse.
pub trait Gc: Policy {
    /// Learns which attachments are in use.
    fn gc(&self, valid: &[ValidAttachment]) -> Vec<Finding>;
}
