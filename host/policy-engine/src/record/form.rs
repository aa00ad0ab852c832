//! A recorded request as JSON.

use std::collections::BTreeMap;

#[cfg(feature = "compile")]
use cni_types::result::CniResult;
#[cfg(feature = "compile")]
use cni_types::version::ConfVersion;
use cni_types::version::Version;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::Answer;
use super::lazy::Lazy;
use super::tape::{HookNotes, Tape, TurnNotes, Value};
use crate::model::outside::Outside;
use crate::model::report::{AddFailure, Cause, Finding, Hook};
use crate::model::request::{Origin, PolicyAttachment, RequestFacts, Selection};
use crate::transaction::{FinaleDraft, OutcomeDraft, SelectionsDraft};

/// A request as its policies saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    pub facts: RequestFacts,
    /// The hooks, in order.
    pub calls: Vec<Call>,
}

/// One hook: what it was offered, and what the policies did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    pub hook: Hook,
    /// What the first policy was offered.
    pub offered: Lazy<Offered>,
    /// The policies that have the hook and saw the request, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,
    /// The value after the last policy's edits, if it made any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Lazy<Offered>>,
}

/// One policy in one hook.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// Name of the policy.
    pub policy: String,
    /// Digest of its module.
    pub digest: String,
    /// What it was offered, if policies before it made edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Lazy<Offered>>,
    pub answer: Answer,
    /// RFC 6902 patch of what it edited, as JSON text; empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub edits: String,
    /// Number of operations that did not fit into the patch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Whether an edit conflicted with another policy's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conflict: bool,
    /// What it learned from outside the request.
    #[serde(default, skip_serializing_if = "Outside::is_empty")]
    pub(crate) outside: Outside,
}

/// A value that a hook is offered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Offered {
    /// The pod's networks.
    Select(Selections),
    /// The same after all policies.
    ValidateSelections(Selections),
    /// An attachment, the names of the interfaces before it with their networks and, with the first
    /// attachment, those after it if a policy sees them.
    BeforeAdd(
        PolicyAttachment,
        BTreeMap<String, String>,
        Vec<PolicyAttachment>,
    ),
    /// All attachments after all policies.
    ValidatePlan(Vec<PolicyAttachment>),
    /// An attachment, and its result.
    AfterAdd(PolicyAttachment, RecordedOutcome),
    /// All attachments, the result for the runtime, and the status of each attachment.
    Finalize(Vec<PolicyAttachment>, RecordedOutcome, Vec<RecordedOutcome>),
    /// The same after all policies.
    ValidateResult(Vec<PolicyAttachment>, RecordedOutcome, Vec<RecordedOutcome>),
    /// The planned attachments, and why the ADD failed.
    AddFailed(Vec<PolicyAttachment>, AddFailure),
    /// A stored attachment and its result.
    Check(PolicyAttachment, RecordedOutcome),
    /// A stored attachment and its result.
    Del(PolicyAttachment, RecordedOutcome),
    /// Container id and interface of the attachments in use.
    Gc(Vec<(String, String)>),
    /// Nothing.
    Status,
}

/// The networks of a pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selections {
    /// Replaces the cluster's default network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Selection>,
    /// Whether a policy set the default network.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sets_default: bool,
    /// The others, in order.
    pub others: Vec<Slot>,
}

/// One selection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slot {
    /// Its identity in the request.
    pub id: usize,
    /// Who asks for it.
    pub origin: Origin,
    pub selection: Selection,
}

/// A result and its tags.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedOutcome {
    /// The result in CNI 1.1.
    pub result: Box<RawValue>,
    /// The tags, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Tags of earlier hooks, seen beside the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, String>,
}

/// A record has something else in place of a value.
#[cfg(feature = "compile")]
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// In place of what a hook was offered.
    #[error("not what a hook is offered")]
    Offered(#[from] serde_json::Error),
    /// In place of a result.
    #[error("not a CNI result")]
    Result(#[from] cni_types::result::Error),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Recorded {
    /// The form of a request's notes.
    pub(crate) fn of(tape: Tape) -> Self {
        Self {
            at_unix_ms: tape.at_unix_ms,
            facts: RequestFacts::clone(&tape.facts),
            calls: tape.calls.into_iter().map(Call::of).collect(),
        }
    }
}

impl Call {
    fn of(notes: HookNotes) -> Self {
        let mut before = notes.offered.clone();
        let turns = notes.turns.into_iter().map(|turn| {
            let is_same = turn.input.is(&before);
            before = turn.input.clone();
            Turn::of(turn, is_same)
        });
        Self {
            hook: notes.hook,
            offered: Offered::of(&notes.offered).into(),
            turns: turns.collect(),
            left: notes.left.as_ref().map(|left| Offered::of(left).into()),
        }
    }

    /// What a policy of this name was offered. One that had no turn is offered what the next one in
    /// order was, or what all policies left.
    ///
    /// # Errors
    /// The record has something else in its place.
    pub fn input(&self, policy: &str) -> serde_json::Result<&Offered> {
        let mut current = &self.offered;
        for turn in &self.turns {
            if let Some(input) = &turn.input {
                current = input;
            }
            if turn.policy.as_str() >= policy {
                return current.get();
            }
        }
        self.left.as_ref().unwrap_or(current).get()
    }

    /// What all policies left.
    #[cfg(feature = "compile")]
    pub(crate) fn outcome(&self) -> serde_json::Result<&Offered> {
        let last = self.turns.iter().rev().find_map(|turn| turn.input.as_ref());
        self.left.as_ref().or(last).unwrap_or(&self.offered).get()
    }

    /// Whether a call may have asked for more than is recorded.
    pub fn is_cut(&self, policy: &str) -> bool {
        self.turn(policy).is_some_and(|turn| turn.outside.cut)
    }

    /// The turn of a policy.
    pub fn turn(&self, policy: &str) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.policy == policy)
    }
}

impl Turn {
    /// Whether the policy had run out of time.
    pub fn timed_out(&self) -> bool {
        matches!(
            self.answer,
            Answer::Failed {
                cause: Cause::Timeout,
                ..
            }
        )
    }

    pub(crate) fn of(notes: TurnNotes, is_same: bool) -> Self {
        let (edits, omitted) = notes.edits.unwrap_or_default();
        Self {
            policy: notes.policy.to_string(),
            digest: notes.digest.to_string(),
            input: (!is_same).then(|| Offered::of(&notes.input).into()),
            answer: notes.answer,
            edits,
            omitted,
            findings: notes.findings,
            conflict: notes.conflict,
            outside: notes.outside.map(|outside| *outside).unwrap_or_default(),
        }
    }
}

impl Offered {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Select(draft) => Self::Select(Selections::of(draft)),
            Value::ValidateSelections(draft) => Self::ValidateSelections(Selections::of(draft)),
            Value::BeforeAdd(draft, plan) => {
                let later = match plan.position {
                    0 => plan.all.get(1..).unwrap_or_default(),
                    _ => &[],
                };
                Self::BeforeAdd(
                    draft.attachment().clone(),
                    draft.reserved().clone(),
                    later
                        .iter()
                        .map(|one| PolicyAttachment::clone(one))
                        .collect(),
                )
            }
            Value::ValidatePlan(plan) => Self::ValidatePlan(plan.to_vec()),
            Value::AfterAdd(attachment, outcome) => Self::AfterAdd(
                PolicyAttachment::clone(attachment),
                RecordedOutcome::of(outcome),
            ),
            Value::Finalize(plan, finale) => {
                let (result, statuses) = RecordedOutcome::all(finale);
                Self::Finalize(plan.to_vec(), result, statuses)
            }
            Value::ValidateResult(plan, finale) => {
                let (result, statuses) = RecordedOutcome::all(finale);
                Self::ValidateResult(plan.to_vec(), result, statuses)
            }
            Value::AddFailed(plan, why) => Self::AddFailed(plan.to_vec(), AddFailure::clone(why)),
            Value::Check(attachment, stored) => Self::Check(
                PolicyAttachment::clone(attachment),
                RecordedOutcome::of(stored),
            ),
            Value::Del(attachment, stored) => Self::Del(
                PolicyAttachment::clone(attachment),
                RecordedOutcome::of(stored),
            ),
            Value::Gc(valid) => Self::Gc(valid.to_vec()),
            Value::Status => Self::Status,
        }
    }

    /// Network and interface, if the hook is about one attachment.
    pub fn subject(&self) -> Option<(&str, &str)> {
        match self {
            Self::BeforeAdd(attachment, ..)
            | Self::AfterAdd(attachment, _)
            | Self::Check(attachment, _)
            | Self::Del(attachment, _) => Some((&attachment.network, &attachment.if_name)),
            _ => None,
        }
    }
}

impl Selections {
    fn of(draft: &SelectionsDraft) -> Self {
        let others = draft.origins().map(|(id, origin, selection)| Slot {
            id,
            origin,
            selection: selection.clone(),
        });
        Self {
            default: draft.default().cloned(),
            sets_default: draft.sets_default(),
            others: others.collect(),
        }
    }

    /// The draft that a policy is offered.
    #[cfg(feature = "compile")]
    pub(crate) fn draft(&self) -> SelectionsDraft {
        let others = self.others.iter();
        let others = others.map(|slot| (slot.id, slot.origin, slot.selection.clone()));
        SelectionsDraft::identified_as(self.default.clone(), self.sets_default, others)
    }
}

impl RecordedOutcome {
    fn of(draft: &OutcomeDraft) -> Self {
        let raw = draft.result().to_raw(Version::V1_1_0);
        Self {
            result: raw.unwrap_or_else(|_| RawValue::NULL.to_owned()),
            tags: draft.tags().clone(),
            earlier: draft.earlier_tags().clone(),
        }
    }

    /// The result of a request, and the status of each attachment.
    fn all(finale: &FinaleDraft) -> (Self, Vec<Self>) {
        let statuses = finale.statuses.iter().map(|one| Self::of(one));
        (Self::of(&finale.result), statuses.collect())
    }

    /// The draft that a policy is offered.
    ///
    /// # Errors
    /// Why the result is not one.
    #[cfg(feature = "compile")]
    pub(crate) fn draft(&self) -> Result<OutcomeDraft, cni_types::result::Error> {
        let version = ConfVersion::from(Version::V1_1_0);
        let result = CniResult::parse(self.result.get().as_bytes(), version)?;
        let draft = OutcomeDraft::with_tags(result, self.tags.clone());
        Ok(draft.after(self.earlier.clone()))
    }
}
