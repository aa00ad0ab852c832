//! One hook call: what the component did with it, and what the same policy does natively.

use std::fmt;

use cnidaria_guest::prelude::*;
use cnidaria_guest::testing;
use policy_engine::record::{Answer, Call, Offered, Turn};
use policy_engine::{RequestFacts, Severity as Recorded};
use serde_json::Value;

use crate::{guest, shown};

/// What a policy did in one call, in a form that both sides have.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The code and message of its denial.
    pub denial: Option<(u32, String)>,
    /// The value after its edits; null if it denies, or cannot edit.
    pub value: Value,
    /// Its findings.
    pub findings: Vec<Found>,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Its code.
    pub code: String,
    /// Its text.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

type OnSelections<P> = fn(&P, &Request, &Selections) -> Verdict;
type OnPlan<P> = fn(&P, &Request, &Plan) -> Verdict;
type OnAttachment<P> = fn(&P, &Request, &Attachment, &Plan) -> Verdict;
type OnOutcome<P> = fn(&P, &Request, &Attachment, &Outcome) -> Verdict;
type OnResult<P> = fn(&P, &Request, &Plan, &Outcome) -> Verdict;
type OnFailure<P> = fn(&P, &Request, &Plan, &Failure) -> Vec<Finding>;
type OnDel<P> = fn(&P, &Request, &Attachment, &Outcome) -> Vec<Finding>;

/// A policy's hooks. One that the policy does not have is `None`.
pub struct Hooks<P> {
    /// The select hook.
    pub select: Option<OnSelections<P>>,
    /// The validate-selections hook.
    pub validate_selections: Option<OnSelections<P>>,
    /// The before-add hook.
    pub before_add: Option<OnAttachment<P>>,
    /// The validate-plan hook.
    pub validate_plan: Option<OnPlan<P>>,
    /// The after-add hook.
    pub after_add: Option<OnOutcome<P>>,
    /// The validate-result hook.
    pub validate_result: Option<OnResult<P>>,
    /// The add-failed hook.
    pub add_failed: Option<OnFailure<P>>,
    /// The del hook.
    pub del: Option<OnDel<P>>,
}

impl<P> Default for Hooks<P> {
    fn default() -> Self {
        Self {
            select: None,
            validate_selections: None,
            before_add: None,
            validate_plan: None,
            after_add: None,
            validate_result: None,
            add_failed: None,
            del: None,
        }
    }
}

impl<P> fmt::Debug for Hooks<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// What the component did.
pub fn component(call: &Call, turn: &Turn) -> Done {
    let after = call.left.as_ref().unwrap_or(&call.offered);
    let after = after.get().expect("what policies left");
    let denial = match &turn.answer {
        Answer::Accept => None,
        Answer::Deny { code, message } => Some((*code, message.clone())),
        Answer::Failed { reason, .. } => Some((0, reason.clone())),
    };
    let findings = turn.findings.iter().map(|finding| Found {
        is_warning: finding.severity == Recorded::Warning,
        code: finding.code.clone(),
        message: finding.message.clone(),
        fields: finding.fields.clone(),
    });
    Done {
        value: match denial {
            Some(_) => Value::Null,
            None => shown::offered(after),
        },
        denial,
        findings: findings.collect(),
    }
}

/// The same policy in native form, for the calls of one request.
#[derive(Debug)]
pub struct Native<'a, P> {
    policy: &'a P,
    hooks: &'a Hooks<P>,
    facts: &'a RequestFacts,
    /// The attachments of before-add: the earlier ones as policies left them.
    planned: Vec<policy_engine::PolicyAttachment>,
    position: usize,
}

impl<'a, P> Native<'a, P> {
    /// Nothing was called yet.
    pub fn new(policy: &'a P, hooks: &'a Hooks<P>, facts: &'a RequestFacts) -> Self {
        Self {
            policy,
            hooks,
            facts,
            planned: Vec::new(),
            position: 0,
        }
    }

    /// What the policy does, where the host refuses edits for the reason that the component's denial
    /// has, if it has one; `None` for a hook that is not one of [`Hooks`].
    pub fn call(&mut self, call: &Call, component: &Done) -> Option<Done> {
        let value = call.offered.get().expect("what the hook was offered");
        if let Offered::BeforeAdd(offered, _, later) = value {
            if self.planned.is_empty() || !later.is_empty() {
                self.planned = [std::slice::from_ref(offered), &later[..]].concat();
                self.position = 0;
            } else {
                self.position += 1;
            }
        }
        // The SDK's structs refuse no edit by themselves: the host's reason is the denial, or is behind
        // the policy's own words.
        let reason = component.denial.as_ref().map(|(_, message)| &**message);
        let behind = reason.and_then(|reason| Some(reason.split_once(": ")?.1));
        let before = testing::host(|host| host.state.clone());
        let mut first = None;
        for refusal in [None, reason, behind] {
            testing::host(|host| host.state.clone_from(&before));
            let refusal = refusal.map(|reason| EditError::new(EditErrorKind::Invalid, reason));
            let done = self.once(value, refusal)?;
            if done == *component {
                first = Some(done);
                break;
            }
            first.get_or_insert(done);
        }
        let left = call
            .left
            .as_ref()
            .map(|left| left.get().expect("what policies left"));
        let left = left.unwrap_or(value);
        if let (Offered::BeforeAdd(left, ..), Some(planned)) =
            (left, self.planned.get_mut(self.position))
        {
            planned.clone_from(left);
        }
        first
    }

    fn once(&self, offered: &Offered, refusal: Option<EditError>) -> Option<Done> {
        let (policy, hooks) = (self.policy, self.hooks);
        let request = guest::request(self.facts);
        let mut findings = Vec::new();
        let mut value = Value::Null;
        let verdict = match offered {
            Offered::Select(networks) => {
                let selections = guest::selections(networks);
                let verdict = hooks.select?(policy, &request, &selections);
                value = shown::selections(&selections);
                verdict
            }
            Offered::ValidateSelections(networks) => {
                hooks.validate_selections?(policy, &request, &guest::selections(networks))
            }
            Offered::BeforeAdd(offered, ..) => {
                let mut attachment = guest::attachment(offered);
                if let Some(refusal) = refusal {
                    attachment = attachment.refusing(refusal);
                }
                let plan = guest::plan(&self.planned, &[]);
                let verdict = hooks.before_add?(policy, &request, &attachment, &plan);
                value = shown::attachment(&attachment);
                verdict
            }
            Offered::ValidatePlan(plan) => {
                hooks.validate_plan?(policy, &request, &guest::plan(plan, &[]))
            }
            Offered::AfterAdd(offered, result) => {
                let mut outcome = guest::outcome(result);
                if let Some(refusal) = refusal {
                    outcome = outcome.refusing(refusal);
                }
                let attachment = guest::attachment(offered);
                let verdict = hooks.after_add?(policy, &request, &attachment, &outcome);
                value = shown::outcome(&outcome);
                verdict
            }
            Offered::ValidateResult(plan, result, statuses) => {
                let plan = guest::plan(plan, statuses);
                hooks.validate_result?(policy, &request, &plan, &guest::outcome(result))
            }
            Offered::AddFailed(plan, why) => {
                let (plan, why) = (guest::plan(plan, &[]), guest::failure(why));
                findings = hooks.add_failed?(policy, &request, &plan, &why);
                Ok(())
            }
            Offered::Del(attachment, stored) => {
                let (attachment, stored) = (guest::attachment(attachment), guest::outcome(stored));
                findings = hooks.del?(policy, &request, &attachment, &stored);
                Ok(())
            }
            _ => return None,
        };
        let denial = verdict.err().map(|denial| (denial.code, denial.message));
        let findings = request.findings().into_iter().chain(findings);
        Some(Done {
            value: match denial {
                Some(_) => Value::Null,
                None => value,
            },
            denial,
            findings: findings.map(found).collect(),
        })
    }
}

fn found(finding: Finding) -> Found {
    Found {
        is_warning: matches!(finding.severity, Severity::Warning),
        code: finding.code,
        message: finding.message,
        fields: finding.fields,
    }
}
