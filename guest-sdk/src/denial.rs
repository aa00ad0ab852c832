//! Constructors of denials and findings.

use crate::{Denial, EditError, EditErrorKind, Finding, Severity};

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
        let details = error.conflict.as_ref().map(|conflict| {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
            format!(
                "policy {:?} has set it to {}, this one to {}",
                conflict.policy,
                shown(&conflict.theirs),
                shown(&conflict.ours)
            )
        });
        Self {
            details,
            ..Self::new(DEFAULT_CODE, error.text())
        }
    }
}

impl EditError {
    /// An error for tests that make edits fail.
    pub fn new(kind: EditErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            network: None,
            if_name: None,
            pointer: None,
            needs: None,
            conflict: None,
        }
    }

    /// The error in one sentence, with network and interface.
    pub fn text(&self) -> String {
        match (&self.network, &self.if_name) {
            (Some(network), Some(if_name)) => {
                format!("network {network:?}, interface {if_name}: {}", self.message)
            }
            _ => self.message.clone(),
        }
    }
}

impl Finding {
    /// Adds a field for the log, as for structured logging.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// A finding for the operator.
    pub fn info(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Info,
            code: code.into(),
            message: message.into(),
            fields: Vec::new(),
        }
    }

    /// A finding for the pod's owner: becomes an Event of the pod.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            code: code.into(),
            message: message.into(),
            fields: Vec::new(),
        }
    }
}
