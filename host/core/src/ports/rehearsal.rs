//! Policies in a rehearsal: what they would do in an ADD that is not made.

use std::sync::Arc;

pub use shim_api::explain::Operation;

use super::PolicySession;

/// The policies of an ADD that is not made. They see the state that they keep, and what they change
/// in it is dropped with the session; nothing is counted, and no Event is emitted.
pub struct Rehearsal {
    /// Runs the hooks.
    pub session: Box<dyn PolicySession>,
    /// What the hooks have done.
    pub record: Arc<dyn RehearsalRecord>,
}

/// Records what policies do in a rehearsal.
pub trait RehearsalRecord: Send + Sync {
    /// Everything since the last call, in order.
    fn take(&self) -> Vec<PolicyAction>;
}

/// Something that a policy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyAction {
    /// Name of the policy.
    pub policy: String,
    pub hook: &'static str,
    /// The interface of the attachment, in hooks of one attachment.
    pub if_name: Option<String>,
    /// False in audit mode: the policy only reports what it would have done.
    pub is_enforced: bool,
    /// What it did.
    pub action: Action,
}

/// What a policy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Edited what the hook offered: a JSON patch.
    Edited(Vec<Operation>),
    /// Denied the request, or failed and is closed for that failure.
    Denied {
        /// The CNI error code.
        code: u32,
        /// The reason.
        message: String,
    },
    /// Reported a finding.
    Found {
        /// The finding's code.
        code: String,
        /// The finding's text.
        message: String,
    },
}
