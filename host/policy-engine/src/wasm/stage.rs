//! What a running hook works on.

use std::sync::Arc;

use crate::model::report::AddFailure;
use crate::model::request::PolicyAttachment;
use crate::transaction::{
    AttachmentDraft, FinaleDraft, OutcomeDraft, SelectionsDraft, Transaction,
};

/// The attachments of a plan whose before-add hooks are running.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// The earlier ones as policies left them, the later ones as resolved.
    pub(crate) all: Arc<[Arc<PolicyAttachment>]>,
    /// Index of the hook's own.
    pub(crate) position: usize,
}

/// What the running hook works on; guest handles point into it. Kept small: moved often.
#[derive(Debug, Default)]
pub(crate) enum Stage {
    /// No hook with resources is running.
    #[default]
    Idle,
    Select(Box<Transaction<SelectionsDraft>>),
    ValidateSelections(Arc<SelectionsDraft>),
    BeforeAdd {
        /// The attachment being edited.
        attachment: Box<Transaction<AttachmentDraft>>,
        /// It among the others.
        plan: Planned,
    },
    ValidatePlan {
        /// The attachments after all policies.
        plan: Arc<[PolicyAttachment]>,
    },
    AfterAdd {
        /// The finished attachment.
        attachment: Arc<PolicyAttachment>,
        /// The delegate's result.
        outcome: Box<Transaction<OutcomeDraft>>,
    },
    Finalize {
        /// The finished attachments.
        plan: Arc<[PolicyAttachment]>,
        /// Result and network-status.
        finale: Box<Transaction<FinaleDraft>>,
    },
    ValidateResult {
        /// The finished attachments.
        plan: Arc<[PolicyAttachment]>,
        /// Result and network-status after all policies.
        finale: Arc<FinaleDraft>,
    },
    AddFailed {
        /// The attachments that were planned.
        plan: Arc<[PolicyAttachment]>,
        /// Why the ADD failed.
        why: Arc<AddFailure>,
    },
    Check {
        /// The stored attachment.
        attachment: Arc<PolicyAttachment>,
        /// The stored result.
        stored: Arc<OutcomeDraft>,
    },
    Del {
        /// The stored attachment.
        attachment: Arc<PolicyAttachment>,
        /// The stored result.
        stored: Arc<OutcomeDraft>,
    },
    Gc {
        /// Container id and interface of the attachments in use.
        valid: Arc<[(String, String)]>,
    },
}

impl Stage {
    /// The attachment that the hook works on, if there is exactly one.
    pub(crate) fn attachment(&self) -> Option<&PolicyAttachment> {
        match self {
            Self::BeforeAdd { attachment, .. } => Some(attachment.draft().attachment()),
            Self::AfterAdd { attachment, .. }
            | Self::Check { attachment, .. }
            | Self::Del { attachment, .. } => Some(attachment),
            _ => None,
        }
    }

    /// The attachments of a plan that cannot be edited any more.
    pub(crate) fn plan(&self) -> Option<&Arc<[PolicyAttachment]>> {
        match self {
            Self::ValidatePlan { plan }
            | Self::Finalize { plan, .. }
            | Self::ValidateResult { plan, .. }
            | Self::AddFailed { plan, .. } => Some(plan),
            _ => None,
        }
    }

    /// Result and network-status of the whole request.
    pub(crate) fn finale(&self) -> Option<&FinaleDraft> {
        match self {
            Self::Finalize { finale, .. } => Some(finale.draft()),
            Self::ValidateResult { finale, .. } => Some(finale),
            _ => None,
        }
    }
}
