//! Answers of the socket's administrative endpoints.

use std::path::{Path, PathBuf};

use cni_types::args::{self, ContainerId, IfName};
use cni_types::error::{CniError, code};
use hyper::StatusCode;
use policy_engine::{LoadState, PolicyInfo};
use shim_api::admin;

use cnidaria_core::domain::entry::Entry;
use cnidaria_core::pipeline::{Collected, Leftover};
use cnidaria_core::ports::{LedgerError, Undo};
use cnidaria_core::report;

/// A recorded attachment, with its pending undo.
pub(crate) fn attachment(
    entry: Entry,
    undo: Option<&Undo>,
    cni_dir: &Path,
) -> admin::ListedAttachment {
    let pending = undo.and_then(|undo| undo.share_of(&entry));
    let since = match &pending {
        Some(pending) => Some(pending.since),
        None => entry.added_at,
    };
    admin::ListedAttachment {
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
        since: since.map(admin::rfc3339),
        cni_dir: Some(cni_dir.display().to_string()),
    }
}

/// A sandbox whose record is unreadable.
pub(crate) fn unreadable(
    (container, error): &(ContainerId, LedgerError),
    cni_dir: &Path,
) -> admin::Unreadable {
    admin::Unreadable {
        cni_dir: Some(cni_dir.display().to_string()),
        container_id: container.to_string(),
        reason: report::chain(error),
    }
}

/// What was collected of a container without a sandbox.
pub(crate) fn collected(one: Collected) -> admin::Collected {
    let (if_name, address) = match one.what {
        Leftover::Attachment(if_name) => (Some(if_name.to_string()), None),
        Leftover::Address(address) => (None, Some(address.to_string())),
    };
    admin::Collected {
        container_id: one.container.to_string(),
        pod: one.pod.map(|pod| admin::Pod {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
        }),
        network: one.network,
        if_name,
        address,
        at_unix_seconds: one.at,
        at: admin::rfc3339(one.at),
    }
}

/// Status and body of the list of attachments. Sorts them by pod; a pod's stay in plan order.
pub(crate) fn answer(
    mut attachments: Vec<admin::ListedAttachment>,
    unreadable: Vec<admin::Unreadable>,
    collected: Vec<admin::Collected>,
) -> (StatusCode, Vec<u8>) {
    attachments.sort_by(|a, b| {
        let key = |one: &admin::ListedAttachment| {
            let pod = &one.pod;
            let pod = (pod.namespace.clone(), pod.name.clone());
            (pod, one.container_id.clone(), one.cni_dir.clone())
        };
        key(a).cmp(&key(b))
    });
    let list = admin::AttachmentList {
        attachments,
        unreadable,
        collected,
    };
    let body = serde_json::to_vec(&list).unwrap_or_default();
    (StatusCode::OK, body)
}

/// Which attachments an operator gives up.
pub(crate) struct Forget {
    pub(crate) container: ContainerId,
    pub(crate) if_name: Option<IfName>,
    pub(crate) cni_dir: Option<PathBuf>,
}

/// Parses a request to forget attachments.
///
/// # Errors
/// The body is not an [`admin::Forget`], or has an invalid container id or interface name.
pub(crate) fn forget(body: &[u8]) -> Result<Forget, CniError> {
    let meant: admin::Forget = serde_json::from_slice(body)
        .map_err(|error| CniError::new(code::DECODING_FAILURE, error.to_string()))?;
    let invalid = |error: args::Error| CniError::new(code::INVALID_ENVIRONMENT, error.to_string());
    let container = ContainerId::new(meant.container_id).map_err(invalid)?;
    let if_name = meant
        .if_name
        .map(IfName::new)
        .transpose()
        .map_err(invalid)?;
    Ok(Forget {
        container,
        if_name,
        cni_dir: meant.cni_dir.map(PathBuf::from),
    })
}

/// The error for forgetting a container that several directories have: what lives in one must not be
/// forgotten with what is left in another.
pub(crate) fn ambiguous(container: &ContainerId, directories: &[PathBuf]) -> CniError {
    let names = directories.iter().map(|dir| dir.display().to_string());
    let names: Vec<String> = names.collect();
    let message = format!(
        "container {container} is recorded in several directories, which may be different uses of its id; \
         choose one with --dir: {}",
        names.join(", ")
    );
    CniError::new(code::INVALID_ENVIRONMENT, message)
}

/// The error for forgetting something in a directory that the daemon does not use.
pub(crate) fn unknown_directory(dir: &Path, known: &[PathBuf]) -> CniError {
    let known: Vec<String> = known.iter().map(|dir| dir.display().to_string()).collect();
    let message = format!(
        "{} is not a directory of the ledger; these are: {}",
        dir.display(),
        known.join(", ")
    );
    CniError::new(code::INVALID_ENVIRONMENT, message)
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

/// Parses an order to the recorder.
///
/// # Errors
/// The body is not an [`admin::Record`].
pub(crate) fn record(body: &[u8]) -> Result<admin::Record, CniError> {
    serde_json::from_slice(body)
        .map_err(|error| CniError::new(code::DECODING_FAILURE, error.to_string()))
}

/// Parses a change of the log's levels.
///
/// # Errors
/// The body is not a [`shim_api::log::LogChange`].
pub(crate) fn log_change(body: &[u8]) -> Result<shim_api::log::LogChange, CniError> {
    serde_json::from_slice(body)
        .map_err(|error| CniError::new(code::DECODING_FAILURE, error.to_string()))
}

/// The error if the configuration has no recording.
pub(crate) fn not_configured() -> CniError {
    let message = "the daemon records nothing: its configuration has no cnidaria.policies.record";
    CniError::new(code::INVALID_CONFIG, message)
}

/// The error if the configuration turns traces off.
pub(crate) fn not_traced() -> CniError {
    let message = "the daemon traces no requests: its configuration has cnidaria.trace.requests 0";
    CniError::new(code::INVALID_CONFIG, message)
}

/// What a recording has.
pub(crate) fn recording(status: policy_engine::record::Status) -> admin::Recording {
    let shown = |path: std::path::PathBuf| path.display().to_string();
    admin::Recording {
        recording: status.is_on,
        directory: shown(status.dir),
        files: status.files.into_iter().map(shown).collect(),
        bytes: status.bytes,
        requests: status.requests,
        lost: status.lost,
        last_error: status.trouble,
    }
}

/// A policy and its state.
pub(crate) fn policy(policy: PolicyInfo) -> admin::Policy {
    admin::Policy {
        name: policy.name,
        file: policy.file.display().to_string(),
        state: match policy.state {
            LoadState::Loaded => admin::PolicyState::Loaded,
            LoadState::Stale => admin::PolicyState::Stale,
            LoadState::Loading => admin::PolicyState::Loading,
            LoadState::Broken => admin::PolicyState::Broken,
            LoadState::Quarantined => admin::PolicyState::Quarantined,
            LoadState::Off => admin::PolicyState::Off,
        },
        mode: match policy.mode {
            policy_engine::Mode::Enforce => admin::PolicyMode::Enforce,
            policy_engine::Mode::Audit => admin::PolicyMode::Audit,
            policy_engine::Mode::Off => admin::PolicyMode::Off,
        },
        digest: policy.digest,
        hooks: policy.hooks.iter().map(ToString::to_string).collect(),
        grants_asked: policy.asked,
        description: policy.description.map(|said| admin::Description {
            name: said.name.clone(),
            version: said.version.clone(),
            grants: said.grants.clone(),
            limits: said.limits.clone(),
        }),
        grants_given: policy.granted,
        last_error: policy.last_error,
        state_error: policy.state_error,
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
