//! Runs an editing hook over all its policies: each starts from the edits of those before it.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use crate::config::{Limits, OnConflict, Spec, count};
use crate::model::policy::Mode;
use crate::model::report::{AppliedEdit, Cause, Denied, Hook, Report};
use crate::record::Value;
use crate::run::generation::Generation;
use crate::run::journal;
use crate::transaction::{
    AttachmentDraft, Budget, Draft, FinaleDraft, OutcomeDraft, RequestBudget, SelectionsDraft,
    Transaction, Working,
};
use crate::wasm::stage::Stage;

impl Session {
    /// Runs an editing hook; each policy starts from the edits of those before it.
    pub(super) async fn chain<D: StagedIn>(
        &mut self,
        hook: Hook,
        network: Option<&str>,
        mut working: Working<D>,
        stage: impl Fn(Box<Transaction<D>>) -> Stage,
        report: &mut Report,
    ) -> Result<Working<D>, Denied> {
        if self.tape.is_on() {
            self.tape.offer(hook, || shown(&working, &stage));
        }
        for turn in self.turns(hook, network) {
            let policy = &turn.policy;
            let Some(spec) = &policy.spec else { continue };
            let request = self.edit_budget(turn.index, spec);
            let transaction = working.begin(Arc::clone(&policy.name), budget(spec));
            let transaction = Box::new(transaction.within(request));
            let accepted = self.turn(&turn, hook, stage(transaction), report).await?;
            let Some(stage) = accepted else {
                continue;
            };
            let Some(transaction) = D::take(stage) else {
                continue;
            };
            if transaction.conflict().is_some() {
                self.tape.turn(|turn| turn.conflict = true);
            }
            if let Some(conflict) = transaction
                .conflict()
                .filter(|_| spec.on_conflict == OnConflict::Deny)
            {
                let of = network.map(|network| format!(" over network {network:?}"));
                let of = of.unwrap_or_default();
                let message = format!("conflicts with another policy{of}: {conflict}");
                let denied = policy.deny(hook, Cause::Conflict, message);
                match self.deny(policy, network, denied, report) {
                    Some(denied) => return Err(denied),
                    None => continue,
                }
            }
            let start = Instant::now();
            let staged = working.staged(*transaction);
            let applied = match spec.mode {
                Mode::Audit => staged.patch,
                Mode::Enforce | Mode::Off => working.commit(&policy.name, staged),
            };
            self.time.charge(turn.index, start.elapsed());
            if let Some(applied) = applied {
                let edit = AppliedEdit {
                    policy: policy.name.to_string(),
                    digest: policy.digest().to_owned(),
                    hook,
                    patch: applied.patch,
                    omitted: applied.omitted,
                };
                if !self.is_rehearsal() {
                    journal::edit(&self.facts, network, &edit, spec.mode);
                }
                self.tape
                    .turn(|turn| turn.edits = Some((edit.patch.to_string(), edit.omitted)));
                if let Some(witness) = &self.generation.services().witness {
                    witness.edited(&edit, spec.mode);
                }
                if let Some(observer) = &self.generation.services().observer {
                    for field in &applied.fields {
                        observer.edited(&policy.name, hook, field);
                    }
                }
                match spec.mode {
                    Mode::Audit => report.audited.push(edit),
                    Mode::Enforce | Mode::Off => report.edits.push(edit),
                }
            }
        }
        if self.tape.is_on() {
            self.tape.end(|| shown(&working, &stage));
        }
        Ok(working)
    }

    /// The policy's remaining edit budget for this request.
    fn edit_budget(&mut self, index: usize, spec: &Spec) -> Arc<RequestBudget> {
        let all = match &self.all_edits {
            Some(all) => Arc::clone(all),
            None => {
                let all = Arc::new(all_edits(&self.generation));
                Arc::clone(self.all_edits.insert(all))
            }
        };
        let budget = self.edit_budgets.entry(index).or_insert_with(|| {
            let (bytes, members) = (
                spec.limits.request_edit_bytes,
                spec.limits.request_edit_members,
            );
            Arc::new(RequestBudget::new(count(bytes), count(members)).within(&all))
        });
        Arc::clone(budget)
    }
}

/// What all policies together may edit in one request: as configured, or twice the default of one,
/// or what one of them may edit alone. The host's work after a hook grows with all edits, whichever
/// policy made them.
fn all_edits(generation: &Generation) -> RequestBudget {
    let policies = generation.chain().iter();
    let limits = policies.filter_map(|policy| Some(policy.spec.as_ref()?.limits));
    let default = Limits::default();
    let least = (
        2 * default.request_edit_bytes,
        2 * default.request_edit_members,
    );
    let most = limits.fold(least, |(bytes, members), own| {
        (
            bytes.max(own.request_edit_bytes),
            members.max(own.request_edit_members),
        )
    });
    let (bytes, members) = generation.request_edits();
    let (bytes, members) = (bytes.unwrap_or(most.0), members.unwrap_or(most.1));
    RequestBudget::new(count(bytes), count(members))
}

/// The value as the next policy would be offered it.
fn shown<D: Draft>(working: &Working<D>, stage: &impl Fn(Box<Transaction<D>>) -> Stage) -> Value {
    let budget = Budget::default();
    Value::of(&stage(Box::new(working.begin("".into(), budget))))
}

fn budget(spec: &Spec) -> Budget {
    let limits = &spec.limits;
    Budget {
        edits: count(limits.edits),
        bytes: count(limits.edit_bytes),
        members: count(limits.edit_members),
        depth: count(limits.edit_depth),
        key_bytes: count(limits.edit_key_bytes),
    }
}

/// A draft that knows which stage it is edited in.
pub(super) trait StagedIn: Draft {
    /// Takes the draft's transaction from the stage.
    fn take(stage: Stage) -> Option<Box<Transaction<Self>>>;
}

impl StagedIn for SelectionsDraft {
    fn take(stage: Stage) -> Option<Box<Transaction<Self>>> {
        match stage {
            Stage::Select(transaction) => Some(transaction),
            _ => None,
        }
    }
}

impl StagedIn for AttachmentDraft {
    fn take(stage: Stage) -> Option<Box<Transaction<Self>>> {
        match stage {
            Stage::BeforeAdd { attachment, .. } => Some(attachment),
            _ => None,
        }
    }
}

impl StagedIn for OutcomeDraft {
    fn take(stage: Stage) -> Option<Box<Transaction<Self>>> {
        match stage {
            Stage::AfterAdd { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}

impl StagedIn for FinaleDraft {
    fn take(stage: Stage) -> Option<Box<Transaction<Self>>> {
        match stage {
            Stage::Finalize { finale, .. } => Some(finale),
            _ => None,
        }
    }
}
