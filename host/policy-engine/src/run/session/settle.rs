//! The end of a hook: checks the combined edits of all its policies.

use std::sync::Arc;

use super::Session;
use crate::model::grant::ConfGrant;
use crate::model::report::{Cause, Denied, Hook, Report};
use crate::model::request::PolicyAttachment;
use crate::transaction::invariants::{self, Fault, Offered};
use crate::transaction::{AttachmentDraft, Claims};

impl Session {
    /// Checks the final plan: each attachment as a whole, through all plugins of its conf, and all
    /// of them together. Called on ADD after before-add ran for every attachment, with what will be
    /// stored; `plan` is in the same order.
    ///
    /// # Errors
    /// [`Denied`] names the policies whose edits conflict. What the pod itself asks for is not
    /// checked here.
    pub async fn settle(&mut self, plan: &[PolicyAttachment]) -> Result<Report, Denied> {
        let mut report = Report::default();
        for (offered, after) in self.offered.iter().zip(plan) {
            let sound = invariants::attachment(offered, after);
            self.sound(Hook::BeforeAdd, sound, &mut report)?;
            // The confs of a whole plan take a while; other requests go on between two.
            tokio::task::yield_now().await;
        }
        let sound = invariants::together(&self.offered, plan);
        self.sound(Hook::BeforeAdd, sound, &mut report)?;
        Ok(report)
    }

    /// Ends before-add: drops instances that are needed only before the delegates run. Returns
    /// whether the plan has to be converted: policies edited it, so that [`settle`](Self::settle) has
    /// to check it, or validate it.
    pub fn end_before_add(&mut self) -> bool {
        let chain = self.generation.chain();
        let to_come = [
            Hook::ValidatePlan,
            Hook::AfterAdd,
            Hook::Finalize,
            Hook::ValidateResult,
            Hook::AddFailed,
        ];
        self.instances.drop_done(|index| {
            let policy = chain.get(index);
            policy.is_some_and(|policy| !to_come.iter().any(|hook| policy.has(*hook)))
        });
        let mut offered = self.offered.iter();
        offered.any(|offered| !offered.claims.is_empty()) || self.asks(Hook::ValidatePlan, None)
    }

    /// Records how an attachment was offered, and which parts policies own.
    pub(super) fn offer(&mut self, before: Arc<AttachmentDraft>, claims: Arc<Claims>) {
        if claims.is_empty() {
            self.offered.push(Offered {
                before: None,
                claims,
                grant: ConfGrant::default(),
            });
            return;
        }
        let owners = claims.owners("");
        let specs = self.generation.chain().iter().filter_map(|policy| {
            let spec = policy.spec.as_ref()?;
            owners.contains(&policy.name).then_some(spec)
        });
        let grant = specs.fold(ConfGrant::default(), |grant, spec| grant.and(&spec.conf));
        self.offered.push(Offered {
            before: Some(before),
            claims,
            grant,
        });
    }

    /// Denies in the name of the last policy involved in a fault; the message names all of them.
    pub(super) fn sound(
        &self,
        hook: Hook,
        sound: Result<(), Fault>,
        report: &mut Report,
    ) -> Result<(), Denied> {
        let Err(Fault { reason, owners }) = sound else {
            return Ok(());
        };
        let mut chain = self.generation.chain().iter().rev();
        let Some(policy) = chain.find(|policy| owners.contains(&policy.name)) else {
            return Ok(());
        };
        let names: Vec<String> = owners.iter().map(|owner| format!("{owner:?}")).collect();
        let message = format!("{reason}, edited by {}", names.join(" and "));
        let denied = policy.deny(hook, Cause::Conflict, message);
        self.deny(policy, None, denied, report).map_or(Ok(()), Err)
    }
}
