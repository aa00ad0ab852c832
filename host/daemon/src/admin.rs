//! Answers of the socket's administrative endpoints.

use cni_types::args::{self, ContainerId, IfName};
use cni_types::error::{CniError, code};
use hyper::StatusCode;
use policy_engine::{PolicyInfo, State};
use shim_api::admin;

use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::{LedgerError, Undo};
use cnidaria_core::report;

/// A recorded attachment, with its pending undo.
pub(crate) fn attachment(entry: Entry, undo: Option<&Undo>) -> admin::Attachment {
    let pending = undo.and_then(|undo| undo.share_of(&entry));
    let since = pending.as_ref().map(|one| one.since);
    admin::Attachment {
        container_id: entry.container_id.to_string(),
        pod: admin::Pod {
            namespace: entry.pod.namespace,
            name: entry.pod.name,
            uid: entry.pod.uid,
        },
        network: entry.network,
        if_name: entry.if_name.to_string(),
        netns: entry.netns.unwrap_or_default(),
        state: match pending {
            Some(one) => admin::AttachmentState::UndoPending {
                reason: one.reason,
                retries: one.attempts,
            },
            None => admin::AttachmentState::Attached,
        },
        since_unix_seconds: since,
    }
}

/// A sandbox whose record is unreadable.
pub(crate) fn unreadable((container, error): &(ContainerId, LedgerError)) -> admin::Unreadable {
    admin::Unreadable {
        container_id: container.to_string(),
        reason: report::chain(error),
    }
}

/// Status and body of the list of attachments.
pub(crate) fn answer(
    attachments: Vec<admin::Attachment>,
    unreadable: Vec<admin::Unreadable>,
) -> (StatusCode, Vec<u8>) {
    let list = admin::AttachmentList {
        attachments,
        unreadable,
    };
    let body = serde_json::to_vec(&list).unwrap_or_default();
    (StatusCode::OK, body)
}

/// Parses a request to forget attachments.
///
/// # Errors
/// The body is not an [`admin::Forget`], or has an invalid container id or interface name.
pub(crate) fn forget(body: &[u8]) -> Result<(ContainerId, Option<IfName>), CniError> {
    let meant: admin::Forget = serde_json::from_slice(body)
        .map_err(|error| CniError::new(code::DECODING_FAILURE, error.to_string()))?;
    let invalid = |error: args::Error| CniError::new(code::INVALID_ENVIRONMENT, error.to_string());
    let container = ContainerId::new(meant.container_id).map_err(invalid)?;
    let if_name = meant
        .if_name
        .map(IfName::new)
        .transpose()
        .map_err(invalid)?;
    Ok((container, if_name))
}

/// Parses a request to release a policy from quarantine; returns the policy's name.
///
/// # Errors
/// The body is not an [`admin::Release`].
pub(crate) fn release(body: &[u8]) -> Result<String, CniError> {
    let meant: admin::Release = serde_json::from_slice(body)
        .map_err(|error| CniError::new(code::DECODING_FAILURE, error.to_string()))?;
    Ok(meant.name)
}

/// The error for releasing a policy that is not quarantined.
pub(crate) fn not_quarantined(name: &str) -> CniError {
    let message = format!("no policy {name:?} is quarantined");
    CniError::new(code::INVALID_ENVIRONMENT, message)
}

/// A policy and its state.
pub(crate) fn policy(policy: PolicyInfo) -> admin::Policy {
    admin::Policy {
        name: policy.name,
        file: policy.file.display().to_string(),
        state: match policy.state {
            State::Loaded => admin::PolicyState::Loaded,
            State::Stale => admin::PolicyState::Stale,
            State::Loading => admin::PolicyState::Loading,
            State::Broken => admin::PolicyState::Broken,
            State::Quarantined => admin::PolicyState::Quarantined,
            State::Off => admin::PolicyState::Off,
        },
        mode: match policy.mode {
            policy_engine::Mode::Enforce => admin::PolicyMode::Enforce,
            policy_engine::Mode::Audit => admin::PolicyMode::Audit,
            policy_engine::Mode::Off => admin::PolicyMode::Off,
        },
        digest: policy.digest,
        hooks: policy.hooks.iter().map(ToString::to_string).collect(),
        grants_asked: policy.asked,
        grants_given: policy.granted,
        last_error: policy.last_error,
        last_failure: policy.last_failure.map(|last| admin::LastFailure {
            error: last.error,
            at_unix_seconds: last.at_unix_seconds,
            load: last.load,
            digest: last.digest,
        }),
        load: policy.load,
        counts: admin::PolicyCounts {
            evaluations: policy.evaluations,
            denials: policy.denials,
            failures: policy.failures,
        },
        required: policy.required,
    }
}
