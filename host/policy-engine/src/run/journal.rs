//! Logs each edit, denial, failure and finding with its policy, hook, pod and network.

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
pub(crate) fn denial(
    facts: &RequestFacts,
    network: Option<&str>,
    digest: &str,
    denied: &Denied,
    mode: Mode,
) {
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
        container_id = facts.container_id, network, mode = mode.as_str(), code, %cause,
        reason = message, details,
        "{what}",
    );
}

/// Logs a policy's failure.
pub(crate) fn failure(
    facts: &RequestFacts,
    policy: &Policy,
    (hook, network): (Hook, Option<&str>),
    failure: &Failure,
    open: bool,
) {
    let Failure { cause, reason } = failure;
    tracing::error!(
        target: "cnidaria::policy",
        policy = &*policy.name, digest = policy.digest(), %hook,
        pod = facts.pod.as_ref().map(display), container_id = facts.container_id, network, %cause, reason,
        failure_policy = if open { "open" } else { "closed" },
        "the policy failed",
    );
}

/// Logs a finding.
pub(crate) fn finding(facts: &RequestFacts, network: Option<&str>, finding: &Finding) {
    let Finding {
        policy,
        hook,
        severity,
        code,
        message,
        fields,
    } = finding;
    let pod = facts.pod.as_ref().map(display);
    let container_id = &facts.container_id;
    let fields = (!fields.is_empty()).then(|| tracing::field::debug(fields));
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(
                target: "cnidaria::policy",
                policy, %hook, pod, container_id, network, code, text = message, fields, "finding",
            )
        };
    }
    match severity {
        Severity::Info => log!(info),
        Severity::Warning => log!(warn),
    }
}
