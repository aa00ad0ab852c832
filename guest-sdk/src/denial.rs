//! Constructors of denials and findings.

use crate::{Denial, EditError, Finding, Severity};

/// Code of a denial that specifies none.
const DEFAULT_CODE: u32 = 100;

impl Denial {
    /// Denies with a policy-specific CNI error code (100 or above) and a reason.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
        }
    }

    /// Adds details for the user.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }
}

impl From<String> for Denial {
    fn from(message: String) -> Self {
        Self::new(DEFAULT_CODE, message)
    }
}

impl From<&str> for Denial {
    fn from(message: &str) -> Self {
        Self::new(DEFAULT_CODE, message)
    }
}

/// A policy that requires an edit can deny with `?` when the host rejects it.
impl From<EditError> for Denial {
    fn from(error: EditError) -> Self {
        Self::new(DEFAULT_CODE, edit_error(&error))
    }
}

impl Finding {
    /// A finding for the operator.
    pub fn info(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Info,
            code: code.into(),
            message: message.into(),
        }
    }

    /// A finding for the pod's owner: becomes an Event of the pod.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            code: code.into(),
            message: message.into(),
        }
    }
}

/// An [`EditError`] for users: the generated `Display` prints the variant.
fn edit_error(error: &EditError) -> String {
    match error {
        EditError::NotGranted(grant) => format!("the policy lacks the grant {grant:?}"),
        EditError::Immutable(path) => format!("{path} cannot be changed"),
        EditError::Invalid(reason) => reason.clone(),
        EditError::Conflict(policy) => format!("policy {policy:?} has set this already"),
        EditError::TooLarge(limit) => format!("the edit is too large: {limit}"),
    }
}
