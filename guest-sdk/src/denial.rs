//! Denials and findings: how a policy says no, or merely says something.

use crate::{Denial, EditError, Finding, Severity};

/// The code of a denial that names none.
const DEFAULT_CODE: u32 = 100;

impl Denial {
    /// Denies with a CNI error code of the policy's own, 100 or above, and the reason.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
        }
    }

    /// The same denial with more for people.
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

/// A policy that insists on an edit denies with `?` when the host refuses it.
impl From<EditError> for Denial {
    fn from(error: EditError) -> Self {
        Self::new(DEFAULT_CODE, edit_error(&error))
    }
}

impl Finding {
    /// Something that the operator may want to know.
    pub fn info(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Info,
            code: code.into(),
            message: message.into(),
        }
    }

    /// Something that the pod's owner should know: becomes an Event of the pod.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            code: code.into(),
            message: message.into(),
        }
    }
}

/// An [`EditError`] for people: its generated `Display` shows the variant.
fn edit_error(error: &EditError) -> String {
    match error {
        EditError::NotGranted(grant) => format!("the policy lacks the grant {grant:?}"),
        EditError::Immutable(path) => format!("{path} cannot be changed"),
        EditError::Invalid(reason) => reason.clone(),
        EditError::Conflict(policy) => format!("policy {policy:?} has set this already"),
        EditError::TooLarge(limit) => format!("the edit is too large: {limit}"),
    }
}
