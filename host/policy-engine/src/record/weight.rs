//! How much memory the notes of a request hold, about: what is waiting to be written is bounded.

use super::tape::{HookNotes, Tape, Value};
use crate::model::request::PolicyAttachment;

/// Bytes of a hook's or a turn's notes beside what is counted.
const NOTES: usize = 512;

impl Tape {
    /// About as many bytes as its record will have.
    pub(super) fn weight(&self) -> usize {
        let texts = self.facts.labels.iter().chain(&self.facts.annotations);
        let facts: usize = texts.map(|(key, value)| key.len() + value.len()).sum();
        let calls = self.calls.iter().map(HookNotes::weight);
        facts + calls.sum::<usize>()
    }
}

impl HookNotes {
    fn weight(&self) -> usize {
        let mut weight = NOTES + self.offered.weight();
        let mut before = &self.offered;
        for turn in &self.turns {
            // An edited value is a copy.
            if !turn.input.is(before) {
                weight += turn.input.weight();
            }
            before = &turn.input;
            let edits = turn.edits.as_ref().map_or(0, |(patch, _)| patch.len());
            let outside = turn.outside.as_ref().map_or(0, |outside| outside.weight());
            weight += NOTES + edits + outside;
        }
        weight + self.left.as_ref().map_or(0, Value::weight)
    }
}

impl Value {
    fn weight(&self) -> usize {
        match self {
            Self::BeforeAdd(draft, _) => of(draft.attachment()),
            Self::ValidatePlan(plan)
            | Self::Finalize(plan, _)
            | Self::ValidateResult(plan, _)
            | Self::AddFailed(plan, _) => plan.iter().map(of).sum(),
            Self::AfterAdd(attachment, _)
            | Self::Check(attachment, _)
            | Self::Del(attachment, _) => of(attachment),
            Self::Select(_) | Self::ValidateSelections(_) | Self::Gc(_) | Self::Status => 0,
        }
    }
}

fn of(attachment: &PolicyAttachment) -> usize {
    NOTES + attachment.conf.text_len() + attachment.fixed.runtime_config.len()
}
