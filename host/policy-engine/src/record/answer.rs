//! A policy's answer, as notes and records have it.

use serde::{Deserialize, Serialize};

use crate::model::report::Cause;

/// What a policy answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It lets the request go on.
    Accept,
    /// It denies.
    Deny { code: u32, message: String },
    /// It failed.
    Failed {
        /// The class of the failure.
        cause: Cause,
        reason: String,
    },
}

impl Answer {
    /// A failure of the policy.
    pub(crate) fn failed(cause: Cause, reason: &str) -> Self {
        Self::Failed {
            cause,
            reason: reason.to_owned(),
        }
    }
}
