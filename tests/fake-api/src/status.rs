//! Error responses, worded as the API does.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::kinds::Kind;

/// An error response.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
    /// What the error is about.
    details: Value,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            reason,
            message: message.into(),
            retry_after: None,
            details: json!({}),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// An invalid field, with its cause, worded as the real server does.
    pub(crate) fn invalid_field(kind: &Kind, name: &str, field: &str, reason: &str) -> Self {
        let message = format!("{} {name:?} is invalid: {field}: {reason}", kind.kind);
        let mut refusal = Self::invalid(message);
        let cause = json!({"reason": "FieldValueInvalid", "message": reason, "field": field});
        refusal.details = json!({"name": name, "kind": kind.kind, "causes": [cause]});
        refusal
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.resource());
        let mut refusal = Self::new(404, "NotFound", message);
        refusal.details = json!({"name": name, "kind": kind.plural});
        if !kind.group.is_empty() {
            refusal.details["group"] = json!(kind.group);
        }
        refusal
    }

    /// The kind is not served, so the error names no object.
    pub(crate) fn not_served() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message)
    }

    /// A conflict of two writers or with a precondition; neither has a cause.
    pub(crate) fn conflict_of(resource: &str, name: &str) -> Self {
        let mut refusal = Self::conflict(format!(
            "Operation cannot be fulfilled on {resource} {name:?}: the object has been modified; please apply your changes to the latest version and try again"
        ));
        refusal.details = json!({"name": name, "kind": resource});
        refusal
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    pub(crate) fn gone() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    /// The response's `Status` object.
    pub(crate) fn object(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code.as_u16(),
        })
    }
}
