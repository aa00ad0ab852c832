//! Logs each edit, denial, failure and finding with its policy, hook and pod.

use tracing::field::display;

use crate::load::policy::Policy;
use crate::model::policy::Mode;
use crate::model::report::{AppliedEdit, Denied, Finding, Hook, Severity};
use crate::model::request::RequestFacts;
use crate::wasm::instance::Failure;

/// Logs an edit that was applied or, in audit mode, would have been.
pub(crate) fn edit(facts: &RequestFacts, network: Option<&str>, edit: &AppliedEdit, mode: Mode) {
    let AppliedEdit {
        policy,
        digest,
        hook,
        patch,
        omitted,
    } = edit;
    let what = if mode == Mode::Audit {
        "would have edited"
    } else {
        "edited"
    };
    tracing::info!(
        target: "cnidaria::policy",
        policy, digest, %hook, pod = facts.pod.as_ref().map(display),
        container_id = facts.container_id, network, mode = mode.as_str(), %patch,
        omitted = (*omitted > 0).then_some(omitted), "{what}",
    );
}

/// Logs a denial that fails the request or, in audit mode, would have.
pub(crate) fn denial(facts: &RequestFacts, digest: &str, denied: &Denied, mode: Mode) {
    let Denied {
        policy,
        hook,
        code,
        message,
        details,
        cause,
        ..
    } = denied;
    let what = if mode == Mode::Audit {
        "would have denied"
    } else {
        "denied"
    };
    tracing::warn!(
        target: "cnidaria::policy",
        policy, digest, %hook, pod = facts.pod.as_ref().map(display),
        container_id = facts.container_id, mode = mode.as_str(), code, %cause, reason = message, details,
        "{what}",
    );
}

/// Logs a policy's failure.
pub(crate) fn failure(
    facts: &RequestFacts,
    policy: &Policy,
    hook: Hook,
    failure: &Failure,
    open: bool,
) {
    let Failure { cause, reason } = failure;
    tracing::error!(
        target: "cnidaria::policy",
        policy = &*policy.name, digest = policy.digest(), %hook,
        pod = facts.pod.as_ref().map(display), container_id = facts.container_id, %cause, reason,
        failure_policy = if open { "open" } else { "closed" },
        "the policy failed",
    );
}

/// Logs a finding.
pub(crate) fn finding(facts: &RequestFacts, finding: &Finding) {
    let Finding {
        policy,
        hook,
        severity,
        code,
        message,
        fields,
    } = finding;
    let pod = facts.pod.as_ref().map(display);
    let fields = (!fields.is_empty()).then(|| tracing::field::debug(fields));
    match severity {
        Severity::Info => {
            tracing::info!(target: "cnidaria::policy", policy, %hook, pod, code, text = message, fields, "finding");
        }
        Severity::Warning => {
            tracing::warn!(target: "cnidaria::policy", policy, %hook, pod, code, text = message, fields, "finding");
        }
    }
}
