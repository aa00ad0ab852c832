//! A hook that edits, over all its policies: each starts from what those before it left.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use crate::config::{OnConflict, Spec, count};
use crate::generation::Mode;
use crate::journal;
use crate::report::{AppliedEdit, Cause, Denied, Hook, Report};
use crate::store::Stage;
use crate::transaction::{
    AttachmentDraft, Budget, Draft, FinaleDraft, OutcomeDraft, SelectionsDraft, Transaction,
    Working,
};

impl Session {
    /// Runs a hook that edits: each policy starts from what those before it left.
    pub(super) async fn chain<D: Draft + StagedIn>(
        &mut self,
        hook: Hook,
        network: Option<&str>,
        mut working: Working<D>,
        stage: impl Fn(Box<Transaction<D>>) -> Stage,
        report: &mut Report,
    ) -> Result<Working<D>, Denied> {
        for seat in self.turns(hook, network) {
            let policy = &seat.policy;
            let Some(spec) = &policy.spec else { continue };
            let transaction = Box::new(working.begin(Arc::clone(&policy.name), budget(spec)));
            let turn = self.turn(&seat, hook, stage(transaction), report).await?;
            let Some(stage) = turn else {
                continue;
            };
            let Some(transaction) = D::take(stage) else {
                continue;
            };
            if let Some(conflict) = transaction
                .conflict()
                .filter(|_| spec.on_conflict == OnConflict::Deny)
            {
                let message = format!("conflicts with another policy: {conflict}");
                let denied = policy.deny(hook, Cause::Conflict, message);
                match self.deny(policy, denied, report) {
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
            self.time.charge(seat.index, start.elapsed());
            if let Some(patch) = applied {
                let edit = AppliedEdit {
                    policy: policy.name.to_string(),
                    digest: policy.digest().to_owned(),
                    hook,
                    patch: patch.to_string(),
                };
                journal::edit(&self.facts, &edit, spec.mode);
                if let Some(observer) = &self.generation.services().observer {
                    for field in journal::fields(hook, &patch) {
                        observer.edited(&policy.name, hook, &field);
                    }
                }
                match spec.mode {
                    Mode::Audit => report.audited.push(edit),
                    Mode::Enforce | Mode::Off => report.edits.push(edit),
                }
            }
        }
        Ok(working)
    }
}

fn budget(spec: &Spec) -> Budget {
    Budget {
        edits: u32::try_from(spec.limits.edits).unwrap_or(u32::MAX),
        bytes: count(spec.limits.edit_bytes),
    }
}

/// A draft that knows the stage that it is edited in.
pub(super) trait StagedIn: Sized {
    /// What the hook worked on.
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
            Stage::BeforeAdd(transaction) => Some(transaction),
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
