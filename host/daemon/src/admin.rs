//! What the socket tells administrators, in the words of its protocol.

use policy_engine::{PolicyInfo, State};
use shim_api::admin;

use crate::domain::entry::Entry;
use crate::ports::Undo;

/// An attachment of the ledger, with what of it could not be undone.
pub(crate) fn attachment(entry: Entry, undo: Option<&Undo>) -> admin::Attachment {
    let pending = undo.and_then(|undo| match undo.of(&entry.if_name) {
        Some(one) => Some((one.reason.clone(), one.attempts, one.since)),
        None if undo.attachments.is_empty() => {
            Some((undo.reason.clone(), undo.retries, undo.since))
        }
        None => None,
    });
    let since = pending.as_ref().map(|(_, _, since)| *since);
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
            Some((reason, retries, _)) => admin::AttachmentState::UndoPending { reason, retries },
            None => admin::AttachmentState::Attached,
        },
        since_unix_seconds: since,
    }
}

/// A policy, and what has become of it.
pub(crate) fn policy(policy: PolicyInfo) -> admin::Policy {
    admin::Policy {
        name: policy.name,
        file: policy.file.display().to_string(),
        state: match policy.state {
            State::Loaded => admin::PolicyState::Loaded,
            State::Stale => admin::PolicyState::Stale,
            State::Broken => admin::PolicyState::Broken,
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
        counts: admin::PolicyCounts {
            evaluations: policy.evaluations,
            denials: policy.denials,
            failures: policy.failures,
        },
        required: policy.required,
    }
}
