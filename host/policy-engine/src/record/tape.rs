//! What a session notes while it serves a request. Shares values with the request instead of
//! copying them, because the request waits.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::answer::Answer;
use crate::model::outside::Outside;
use crate::model::report::{AddFailure, Finding, Hook};
use crate::model::request::{PolicyAttachment, RequestFacts};
use crate::transaction::{AttachmentDraft, FinaleDraft, OutcomeDraft, SelectionsDraft};
use crate::wasm::stage::{Planned, Stage};

/// A value that a hook is offered.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Select(Arc<SelectionsDraft>),
    ValidateSelections(Arc<SelectionsDraft>),
    BeforeAdd(Arc<AttachmentDraft>, Planned),
    ValidatePlan(Arc<[PolicyAttachment]>),
    AfterAdd(Arc<PolicyAttachment>, Arc<OutcomeDraft>),
    Finalize(Arc<[PolicyAttachment]>, Arc<FinaleDraft>),
    ValidateResult(Arc<[PolicyAttachment]>, Arc<FinaleDraft>),
    AddFailed(Arc<[PolicyAttachment]>, Arc<AddFailure>),
    Check(Arc<PolicyAttachment>, Arc<OutcomeDraft>),
    Del(Arc<PolicyAttachment>, Arc<OutcomeDraft>),
    Gc(Arc<[(String, String)]>),
    Status,
}

impl Value {
    /// What the hook of a stage is offered.
    pub(crate) fn of(stage: &Stage) -> Self {
        match stage {
            Stage::Idle => Self::Status,
            Stage::Select(transaction) => Self::Select(transaction.shared()),
            Stage::ValidateSelections(draft) => Self::ValidateSelections(Arc::clone(draft)),
            Stage::BeforeAdd { attachment, plan } => {
                Self::BeforeAdd(attachment.shared(), plan.clone())
            }
            Stage::ValidatePlan { plan } => Self::ValidatePlan(Arc::clone(plan)),
            Stage::AfterAdd {
                attachment,
                outcome,
            } => Self::AfterAdd(Arc::clone(attachment), outcome.shared()),
            Stage::Finalize { plan, finale } => Self::Finalize(Arc::clone(plan), finale.shared()),
            Stage::ValidateResult { plan, finale } => {
                Self::ValidateResult(Arc::clone(plan), Arc::clone(finale))
            }
            Stage::AddFailed { plan, why } => Self::AddFailed(Arc::clone(plan), Arc::clone(why)),
            Stage::Check { attachment, stored } => {
                Self::Check(Arc::clone(attachment), Arc::clone(stored))
            }
            Stage::Del { attachment, stored } => {
                Self::Del(Arc::clone(attachment), Arc::clone(stored))
            }
            Stage::Gc { valid } => Self::Gc(Arc::clone(valid)),
        }
    }

    /// Whether both are the same value, not only equal ones. Hooks that cannot edit always offer
    /// the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Select(a), Self::Select(b)) => Arc::ptr_eq(a, b),
            (Self::BeforeAdd(a, _), Self::BeforeAdd(b, _)) => Arc::ptr_eq(a, b),
            (Self::AfterAdd(_, a), Self::AfterAdd(_, b)) => Arc::ptr_eq(a, b),
            (Self::Finalize(_, a), Self::Finalize(_, b)) => Arc::ptr_eq(a, b),
            _ => true,
        }
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(crate) at_unix_ms: u64,
    pub(crate) facts: Arc<RequestFacts>,
    pub(crate) calls: Vec<HookNotes>,
}

/// One hook, offered once.
#[derive(Debug)]
pub(crate) struct HookNotes {
    pub(crate) hook: Hook,
    pub(crate) offered: Value,
    pub(crate) turns: Vec<TurnNotes>,
    /// The value after all policies.
    pub(crate) left: Option<Value>,
}

/// One policy's turn.
#[derive(Debug)]
pub(crate) struct TurnNotes {
    pub(crate) policy: Arc<str>,
    pub(crate) digest: Arc<str>,
    pub(crate) input: Value,
    pub(crate) answer: Answer,
    /// RFC 6902 patch, and how many operations it lacks.
    pub(crate) edits: Option<(String, usize)>,
    pub(crate) findings: Vec<Finding>,
    /// An edit of another policy was in the way.
    pub(crate) conflict: bool,
    pub(crate) outside: Option<Box<Outside>>,
}

impl Tape {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of a request is part of its record"
    )]
    pub(crate) fn new(facts: Arc<RequestFacts>) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            facts,
            calls: Vec::with_capacity(8),
        }
    }
}

/// Takes the notes of requests.
pub(crate) trait Sink: std::fmt::Debug + Send + Sync {
    /// Whether the next request is noted.
    fn is_on(&self) -> bool;
    /// Takes the notes of one request; the request waits for it.
    fn take(&self, tape: Tape);
}

/// A request's notes, if it is recorded; handed over when dropped.
#[derive(Debug, Default)]
pub(crate) struct Taping {
    tape: Option<Box<Tape>>,
    sink: Option<Arc<dyn Sink>>,
}

impl Taping {
    /// Records a request, if `sink` wants it.
    pub(crate) fn new(sink: Option<&Arc<dyn Sink>>, facts: &Arc<RequestFacts>) -> Self {
        match sink.filter(|sink| sink.is_on()) {
            Some(sink) => Self {
                tape: Some(Box::new(Tape::new(Arc::clone(facts)))),
                sink: Some(Arc::clone(sink)),
            },
            None => Self::default(),
        }
    }

    /// Notes for a caller that takes them.
    #[cfg(feature = "compile")]
    pub(crate) fn kept(facts: &Arc<RequestFacts>) -> Self {
        Self {
            tape: Some(Box::new(Tape::new(Arc::clone(facts)))),
            sink: None,
        }
    }

    /// Takes the notes of the last hook.
    #[cfg(feature = "compile")]
    pub(crate) fn pop(&mut self) -> Option<HookNotes> {
        self.tape.as_mut()?.calls.pop()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.tape.is_some()
    }

    /// A hook is offered to the policies.
    pub(crate) fn offer(&mut self, hook: Hook, value: impl FnOnce() -> Value) {
        if let Some(tape) = &mut self.tape {
            tape.calls.push(HookNotes {
                hook,
                offered: value(),
                turns: Vec::new(),
                left: None,
            });
        }
    }

    /// A policy's turn in the last hook begins.
    pub(crate) fn begin(&mut self, turn: impl FnOnce() -> TurnNotes) {
        if let Some(call) = self.call() {
            call.turns.push(turn());
        }
    }

    /// Adds to the last turn.
    pub(crate) fn turn(&mut self, add: impl FnOnce(&mut TurnNotes)) {
        if let Some(turn) = self.call().and_then(|call| call.turns.last_mut()) {
            add(turn);
        }
    }

    /// The last hook ended.
    pub(crate) fn end(&mut self, value: impl FnOnce() -> Value) {
        if let Some(call) = self.call() {
            let value = value();
            let known = call.turns.last().map_or(&call.offered, |turn| &turn.input);
            call.left = (!value.is(known)).then_some(value);
        }
    }

    fn call(&mut self) -> Option<&mut HookNotes> {
        self.tape.as_mut()?.calls.last_mut()
    }
}

impl Drop for Taping {
    fn drop(&mut self) {
        if let Some((tape, sink)) = self.tape.take().zip(self.sink.take())
            && !tape.calls.is_empty()
        {
            sink.take(*tape);
        }
    }
}

impl TurnNotes {
    /// A turn that has not answered yet.
    pub(crate) fn new(policy: &Arc<str>, digest: Arc<str>, input: Value) -> Self {
        Self {
            policy: Arc::clone(policy),
            digest,
            input,
            answer: Answer::Accept,
            edits: None,
            findings: Vec::new(),
            conflict: false,
            outside: None,
        }
    }
}
