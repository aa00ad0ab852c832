//! Offers a recorded value to a policy again.

use std::sync::Arc;

use cni_types::result;

use super::Session;
use crate::model::outside::RecordedAnswers;
use crate::model::report::{Hook, Report};
use crate::model::request::PolicyAttachment;
use crate::record::{Call, HookNotes, Offered, RecordedOutcome, Taping, Unreadable, Value};
use crate::transaction::{AttachmentDraft, FinaleDraft, Working};
use crate::wasm::stage::{Planned, Stage};

/// What came of a recorded call.
pub(crate) struct Again {
    /// What the policy did, if it has the hook and sees the request.
    pub(crate) notes: Option<HookNotes>,
    /// What the call learned from the record.
    pub(crate) answers: RecordedAnswers,
    /// Whether the request ends here.
    pub(crate) is_denied: bool,
}

impl Session {
    /// Notes for [`again`](Self::again) instead of the recorder.
    pub(crate) fn keep_notes(&mut self) {
        self.tape = Taping::kept(&self.facts);
    }

    /// Offers the session's policies what the policy of this name was offered in a recorded call.
    ///
    /// # Errors
    /// [`Unreadable`] if the record has something else in place of a value.
    pub(crate) async fn again(
        &mut self,
        call: &Call,
        policy: &str,
        answers: RecordedAnswers,
    ) -> Result<Again, Unreadable> {
        if !self.asks(call.hook, None) {
            return Ok(Again {
                notes: None,
                answers,
                is_denied: false,
            });
        }
        self.answers = Some(answers);
        let mut report = Report::default();
        let is_denied = match call.input(policy)? {
            Offered::Select(networks) => {
                let working = Working::new(networks.draft());
                let stage = Stage::Select;
                let chain = self.chain(Hook::Select, None, working, stage, &mut report);
                chain.await.is_err()
            }
            Offered::ValidateSelections(networks) => {
                let draft = Arc::new(networks.draft());
                let stage = || Stage::ValidateSelections(Arc::clone(&draft));
                self.each(Hook::ValidateSelections, None, stage).await
            }
            Offered::BeforeAdd(attachment, reserved, _) => {
                let reserved = Arc::new(reserved.clone());
                let working = Working::new(AttachmentDraft::new(attachment.clone(), reserved));
                let (hook, network) = (Hook::BeforeAdd, Some(&*attachment.network));
                let plan = self.plan_again(call, attachment)?;
                let stage = |attachment| Stage::BeforeAdd {
                    attachment,
                    plan: plan.clone(),
                };
                let chain = self.chain(hook, network, working, stage, &mut report);
                chain.await.is_err()
            }
            Offered::ValidatePlan(plan) => {
                let plan: Arc<[_]> = plan.as_slice().into();
                let stage = || Stage::ValidatePlan {
                    plan: Arc::clone(&plan),
                };
                self.each(Hook::ValidatePlan, None, stage).await
            }
            Offered::AfterAdd(attachment, outcome) => {
                let working = Working::new(outcome.draft()?);
                let shared = Arc::new(attachment.clone());
                let stage = |outcome| Stage::AfterAdd {
                    attachment: Arc::clone(&shared),
                    outcome,
                };
                let (hook, network) = (Hook::AfterAdd, Some(&*attachment.network));
                let chain = self.chain(hook, network, working, stage, &mut report);
                chain.await.is_err()
            }
            Offered::Finalize(plan, result, statuses) => {
                let working = Working::new(finale(result, statuses)?);
                let plan: Arc<[_]> = plan.as_slice().into();
                let stage = |finale| Stage::Finalize {
                    plan: Arc::clone(&plan),
                    finale,
                };
                let chain = self.chain(Hook::Finalize, None, working, stage, &mut report);
                chain.await.is_err()
            }
            Offered::ValidateResult(plan, result, statuses) => {
                let finale = Arc::new(finale(result, statuses)?);
                let plan: Arc<[_]> = plan.as_slice().into();
                let stage = || Stage::ValidateResult {
                    plan: Arc::clone(&plan),
                    finale: Arc::clone(&finale),
                };
                self.each(Hook::ValidateResult, None, stage).await
            }
            Offered::AddFailed(plan, why) => {
                let (plan, why): (Arc<[_]>, _) = (plan.as_slice().into(), Arc::new(why.clone()));
                let stage = || Stage::AddFailed {
                    plan: Arc::clone(&plan),
                    why: Arc::clone(&why),
                };
                self.each(Hook::AddFailed, None, stage).await
            }
            Offered::Check(attachment, stored) => {
                let (attachment, stored) = (Arc::new(attachment.clone()), stored.draft()?);
                let stored = Arc::new(stored);
                let stage = || Stage::Check {
                    attachment: Arc::clone(&attachment),
                    stored: Arc::clone(&stored),
                };
                self.each(Hook::Check, Some(&attachment.network), stage)
                    .await
            }
            Offered::Del(attachment, stored) => {
                let (attachment, stored) = (Arc::new(attachment.clone()), stored.draft()?);
                let stored = Arc::new(stored);
                let stage = || Stage::Del {
                    attachment: Arc::clone(&attachment),
                    stored: Arc::clone(&stored),
                };
                self.each(Hook::Del, Some(&attachment.network), stage).await
            }
            Offered::Gc(valid) => {
                let valid: Arc<[_]> = valid.as_slice().into();
                let stage = || Stage::Gc {
                    valid: Arc::clone(&valid),
                };
                self.each(Hook::Gc, None, stage).await
            }
            Offered::Status => self.each(Hook::Status, None, || Stage::Idle).await,
        };
        Ok(Again {
            notes: self.tape.pop(),
            answers: self.answers.take().unwrap_or_default(),
            is_denied,
        })
    }

    /// The plan that before-add hooks of a recorded attachment see: the attachments before it as
    /// the record's policies left them, and those after it if the record has them.
    fn plan_again(
        &mut self,
        call: &Call,
        attachment: &PolicyAttachment,
    ) -> serde_json::Result<Planned> {
        let position = self.position;
        self.position += 1;
        if position == 0
            && let Offered::BeforeAdd(_, _, later) = call.offered.get()?
        {
            self.planned = later.iter().cloned().map(Arc::new).collect();
            self.planned.insert(0, Arc::new(attachment.clone()));
        }
        let mut all = self.planned.clone();
        let put = |planned: &mut Vec<Arc<PolicyAttachment>>, one: &PolicyAttachment| {
            let one = Arc::new(one.clone());
            match planned.get_mut(position) {
                Some(place) => *place = one,
                None => planned.push(one),
            }
        };
        put(&mut all, attachment);
        if let Offered::BeforeAdd(left, ..) = call.outcome()? {
            put(&mut self.planned, left);
        }
        Ok(Planned {
            all: all.into(),
            position,
        })
    }

    /// Runs a hook that edits nothing. Returns whether a policy denied.
    async fn each(&mut self, hook: Hook, network: Option<&str>, stage: impl Fn() -> Stage) -> bool {
        let mut report = Report::default();
        self.tape.offer(hook, || Value::of(&stage()));
        for turn in self.turns(hook, network) {
            if self.turn(&turn, hook, stage(), &mut report).await.is_err() {
                return true;
            }
        }
        false
    }
}

/// The drafts of a request's result and statuses.
fn finale(
    result: &RecordedOutcome,
    statuses: &[RecordedOutcome],
) -> Result<FinaleDraft, result::Error> {
    let statuses = statuses.iter().map(|one| one.draft().map(Arc::new));
    Ok(FinaleDraft {
        result: Arc::new(result.draft()?),
        statuses: statuses.collect::<Result<_, _>>()?,
    })
}
