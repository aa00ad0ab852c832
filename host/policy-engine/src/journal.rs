//! What the log says of policies: each edit and each denial, with policy, digest, hook and pod.

use std::collections::BTreeSet;

use cni_types::json::{Operation, Patch};
use tracing::field::display;

use crate::call::Failure;
use crate::generation::Mode;
use crate::policy::Policy;
use crate::report::{AppliedEdit, Denied, Finding, Hook, Severity};
use crate::request::RequestFacts;

/// The fields that a patch changes, for metrics: few, whatever the patch.
pub(crate) fn fields(hook: Hook, patch: &Patch) -> BTreeSet<String> {
    let depth = match hook {
        Hook::BeforeAdd | Hook::AfterAdd => 2,
        _ => 1,
    };
    let field = |operation: &Operation| {
        let (Operation::Add { path, .. }
        | Operation::Remove { path }
        | Operation::Replace { path, .. }) = operation;
        let tokens: Vec<&str> = path.split('/').skip(1).collect();
        match tokens.as_slice() {
            _ if hook == Hook::Select => "selections".to_owned(),
            // Their members are the policy's own words.
            [first @ ("conf" | "cniArgs" | "tags" | "status"), ..] => (*first).to_owned(),
            tokens => tokens
                .iter()
                .take(depth)
                .copied()
                .collect::<Vec<_>>()
                .join("."),
        }
    };
    patch.operations().iter().map(field).collect()
}

/// An edit that stands, or in audit mode would stand.
pub(crate) fn edit(facts: &RequestFacts, edit: &AppliedEdit, mode: Mode) {
    let AppliedEdit {
        policy,
        digest,
        hook,
        patch,
    } = edit;
    let what = if mode == Mode::Audit {
        "would have edited"
    } else {
        "edited"
    };
    tracing::info!(
        target: "cnidaria::policy",
        policy, digest, %hook, pod = facts.pod.as_ref().map(display),
        container_id = facts.container_id, mode = mode.as_str(), patch, "{what}",
    );
}

/// A denial that ends the request, or in audit mode would.
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

/// A failure of a policy.
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
        "failed",
    );
}

/// What a policy reported.
pub(crate) fn finding(facts: &RequestFacts, finding: &Finding) {
    let Finding {
        policy,
        hook,
        severity,
        code,
        message,
    } = finding;
    let pod = facts.pod.as_ref().map(display);
    match severity {
        Severity::Info => {
            tracing::info!(target: "cnidaria::policy", policy, %hook, pod, code, text = message, "finding");
        }
        Severity::Warning => {
            tracing::warn!(target: "cnidaria::policy", policy, %hook, pod, code, text = message, "finding");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::{Limits, Node};

    #[test]
    fn fields_are_few_whatever_a_guest_writes() {
        let check = |hook, old: &str, new: &str, expected: &[&str]| {
            let node = |json: &str| Node::parse(json, Limits::default()).unwrap();
            let fields = fields(hook, &Patch::between(&node(old), &node(new)));
            assert_eq!(
                fields.iter().map(String::as_str).collect::<Vec<_>>(),
                expected
            );
        };
        check(
            Hook::BeforeAdd,
            r#"{"conf":{},"runtimeConfig":{},"ifName":"a"}"#,
            r#"{"conf":{"x":1,"y":2},"runtimeConfig":{"ips":["1"]},"ifName":"b","cniArgs":{"z":1}}"#,
            &["cniArgs", "conf", "ifName", "runtimeConfig.ips"],
        );
        check(
            Hook::AfterAdd,
            r#"{"result":{},"tags":{}}"#,
            r#"{"result":{"dns":{"search":[]}},"tags":{"a":"b"}}"#,
            &["result.dns", "tags"],
        );
        check(Hook::Select, "[]", r#"[{"name":"x"}]"#, &["selections"]);
    }
}
