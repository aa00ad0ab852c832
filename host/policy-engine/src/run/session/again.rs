//! Offers a recorded value to a policy again.

use std::sync::Arc;

use super::Session;
use crate::model::outside::Told;
use crate::model::report::{Hook, Report};
use crate::record::{Call, HookNotes, Offered, Taping, Value};
use crate::transaction::{AttachmentDraft, FinaleDraft, SelectionsDraft, Working};
use crate::wasm::bindings::cnidaria::policy::types::ValidAttachment;
use crate::wasm::store::Stage;

/// What came of a recorded call.
pub(crate) struct Again {
    /// What the policy did, if it has the hook and sees the request.
    pub(crate) notes: Option<HookNotes>,
    /// What the call learned from the record.
    pub(crate) told: Told,
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
    /// If the record has a result that is not one.
    pub(crate) async fn again(
        &mut self,
        call: &Call,
        policy: &str,
        told: Told,
    ) -> Result<Again, cni_types::result::Error> {
        self.told = Some(told);
        let mut report = Report::default();
        let is_denied = match call.input(policy) {
            Offered::Select(slots) => {
                let slots = slots
                    .iter()
                    .map(|slot| (slot.id, slot.origin, slot.selection.clone()));
                let working = Working::new(SelectionsDraft::identified_as(slots));
                let stage = Stage::Select;
                let chain = self.chain(Hook::Select, None, working, stage, &mut report);
                chain.await.is_err()
            }
            Offered::BeforeAdd(attachment, reserved) => {
                let reserved = Arc::new(reserved.clone());
                let working = Working::new(AttachmentDraft::new(attachment.clone(), reserved));
                let (hook, network) = (Hook::BeforeAdd, Some(&*attachment.network));
                let chain = self.chain(hook, network, working, Stage::BeforeAdd, &mut report);
                chain.await.is_err()
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
                let statuses = statuses.iter().map(|one| one.draft().map(Arc::new));
                let working = Working::new(FinaleDraft {
                    result: Arc::new(result.draft()?),
                    statuses: statuses.collect::<Result<_, _>>()?,
                });
                let plan: Arc<[_]> = plan.as_slice().into();
                let stage = |finale| Stage::Finalize {
                    plan: Arc::clone(&plan),
                    finale,
                };
                let chain = self.chain(Hook::Finalize, None, working, stage, &mut report);
                chain.await.is_err()
            }
            Offered::Check(attachment, stored) => {
                let (attachment, stored) = (Arc::new(attachment.clone()), stored.draft()?);
                let stage = || Stage::Check {
                    attachment: Arc::clone(&attachment),
                    stored: Box::new(stored.clone()),
                };
                self.each(Hook::Check, Some(&attachment.network), stage)
                    .await
            }
            Offered::Del(attachment) => {
                let attachment = Arc::new(attachment.clone());
                let stage = || Stage::Del {
                    attachment: Arc::clone(&attachment),
                };
                self.each(Hook::Del, Some(&attachment.network), stage).await
            }
            Offered::Gc(valid) => {
                let valid = valid.iter().map(|(container_id, if_name)| ValidAttachment {
                    container_id: container_id.clone(),
                    if_name: if_name.clone(),
                });
                let valid: Arc<[ValidAttachment]> = valid.collect();
                let stage = || Stage::Gc {
                    valid: Arc::clone(&valid),
                };
                self.each(Hook::Gc, None, stage).await
            }
            Offered::Status => self.each(Hook::Status, None, || Stage::Idle).await,
        };
        Ok(Again {
            notes: self.tape.pop(),
            told: self.told.take().unwrap_or_default(),
            is_denied,
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
