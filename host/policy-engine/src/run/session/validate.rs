//! Hooks that see what all policies left, and edit nothing; and the plan that before-add hooks see.

use std::sync::Arc;

use super::{Outcome, Session};
use crate::model::report::{AddFailure, Denied, Hook, Report};
use crate::model::request::PolicyAttachment;
use crate::record::Value;
use crate::transaction::{FinaleDraft, OutcomeDraft};
use crate::wasm::stage::{Planned, Stage};

impl Session {
    /// Whether [`plan`](Self::plan) has to be called: a policy's before-add hook sees the plan.
    pub fn wants_plan(&self) -> bool {
        let mut chain = self.generation.chain().iter();
        !self.skipped && chain.any(|policy| policy.sees_plan())
    }

    /// Announces all attachments, as resolved, before they are offered one by one.
    pub fn plan(&mut self, attachments: Vec<PolicyAttachment>) {
        self.planned = attachments.into_iter().map(Arc::new).collect();
    }

    /// The plan that before-add hooks of the next attachment see.
    pub(super) fn planned(&mut self, next: &PolicyAttachment) -> Planned {
        let position = self.position;
        if self.wants_plan() && self.planned.len() <= position {
            // Not announced: the plan is what was offered so far.
            self.planned.push(Arc::new(next.clone()));
        }
        Planned {
            all: self.planned.iter().cloned().collect(),
            position,
        }
    }

    /// Shows the plan to the policies that validate it. Called on ADD after
    /// [`settle`](Self::settle), before anything is recorded or executed.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure.
    pub async fn validate_plan(&mut self, plan: &[PolicyAttachment]) -> Result<Report, Denied> {
        let mut report = Report::default();
        if !self.asks(Hook::ValidatePlan, None) {
            return Ok(report);
        }
        let plan: Arc<[PolicyAttachment]> = plan.into();
        let stage = || Stage::ValidatePlan {
            plan: Arc::clone(&plan),
        };
        self.validate(Hook::ValidatePlan, stage, &mut report)
            .await?;
        Ok(report)
    }

    /// Shows the outcome of an attachment to a running pod to the policies that validate results.
    /// Called after after-add, in place of [`finalize`](Self::finalize).
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure: roll the ADD back.
    pub async fn validate_result(
        &mut self,
        attachment: PolicyAttachment,
        outcome: &Outcome,
    ) -> Result<Report, Denied> {
        let mut report = Report::default();
        let plan: Arc<[PolicyAttachment]> = [attachment].into();
        let draft = OutcomeDraft::with_tags(outcome.result.clone(), outcome.tags.clone());
        let draft = Arc::new(draft);
        let finale = Arc::new(FinaleDraft {
            result: Arc::clone(&draft),
            statuses: vec![draft],
        });
        let stage = || Stage::ValidateResult {
            plan: Arc::clone(&plan),
            finale: Arc::clone(&finale),
        };
        self.validate(Hook::ValidateResult, stage, &mut report)
            .await?;
        Ok(report)
    }

    /// Runs a validating hook.
    pub(super) async fn validate(
        &mut self,
        hook: Hook,
        stage: impl Fn() -> Stage,
        report: &mut Report,
    ) -> Result<(), Denied> {
        let asked = self.turns(hook, None);
        if !asked.is_empty() {
            self.tape.offer(hook, || Value::of(&stage()));
        }
        for turn in asked {
            self.turn(&turn, hook, stage(), report).await?;
        }
        Ok(())
    }

    /// Tells the policies that the ADD failed. Called when what it had attached is undone; `plan` is
    /// empty if there was none. Cannot deny.
    pub async fn add_failed(&mut self, plan: &[PolicyAttachment], why: AddFailure) -> Report {
        let mut report = Report::default();
        let (plan, why): (Arc<[PolicyAttachment]>, _) = (plan.into(), Arc::new(why));
        self.tape.offer(Hook::AddFailed, || {
            Value::AddFailed(Arc::clone(&plan), Arc::clone(&why))
        });
        for turn in self.turns(Hook::AddFailed, None) {
            if self.failed.contains(&turn.index) {
                continue;
            }
            let stage = Stage::AddFailed {
                plan: Arc::clone(&plan),
                why: Arc::clone(&why),
            };
            // Never an error: its failures are open.
            let _ = self.turn(&turn, Hook::AddFailed, stage, &mut report).await;
        }
        report
    }
}
