//! One request's pass through the policies: at most one store per policy, dropped with the session.

#[cfg(feature = "compile")]
mod again;
mod allowances;
mod begin;
mod chain;
mod settle;
mod time;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::result::CniResult;

use crate::pool::RequestInstances;
use crate::record::{Taping, Value};
use allowances::Allowances;
use time::Time;

use crate::load::policy::Loading;
use crate::model::outside::Told;
use crate::model::policy::Mode;
use crate::model::report::{Cause, Denied, Hook, Report};
use crate::model::request::{Attachment, Chosen, Command, RequestFacts, Selection};
use crate::run::generation::Generation;
use crate::state::{Guard, States};
use crate::transaction::{
    AttachmentDraft, FinaleDraft, OutcomeDraft, Owned, RequestBudget, Reserved, SelectionClaims,
    SelectionsDraft, Working,
    invariants::{self, Offered},
};
use crate::wasm::bindings::cnidaria::policy::types::ValidAttachment;
use crate::wasm::services::Services;
use crate::wasm::store::Stage;

/// The outcome of the select hook.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The selections, in order.
    pub selections: Vec<Chosen>,
    /// Edits and findings of the hook.
    pub report: Report,
}

/// The outcome of the after-add hook for one attachment.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The result, rewritten or not.
    pub result: CniResult,
    /// Tags for network-status, by key.
    pub tags: BTreeMap<String, String>,
}

/// The outcome of the finalize hook.
#[derive(Debug, Clone)]
pub struct Finale {
    /// The result for the runtime, with the default network's tags.
    pub outcome: Outcome,
    /// What network-status reports for each attachment, in plan order.
    pub statuses: Vec<Outcome>,
}

/// The policies of one request. Call the hooks in request order.
pub struct Session {
    generation: Arc<Generation>,
    facts: Arc<RequestFacts>,
    /// No policy runs: the namespace is exempt, or the node's bypass is on.
    skipped: bool,
    instances: RequestInstances,
    /// Time that the policies have spent.
    time: Time,
    /// Indexes of policies that are out of time and not called again in this request.
    exhausted: BTreeSet<usize>,
    /// Indexes of policies that exhausted a request budget and are open on timeout.
    given_up: BTreeSet<usize>,
    /// What policies own of the chosen selections.
    selection_claims: SelectionClaims,
    /// The attachments so far, as offered to before-add.
    offered: Vec<Offered>,
    /// Which parts of the results so far policies own, by interface.
    owned: BTreeMap<String, Owned>,
    /// Remaining edit budgets, by policy index.
    edit_budgets: BTreeMap<usize, Arc<RequestBudget>>,
    /// Interface names of the attachments so far.
    reserved: Reserved,
    /// Whether the policies that do not load were already gated for the request as a whole.
    gated: bool,
    /// Remaining findings and log budgets, by policy index.
    allowances: Allowances,
    /// If the ADD fails, releases the state that policies bound to the planned attachments.
    bound: Guard,
    /// Notes for the recorder.
    tape: Taping,
    /// What the next calls learn from outside; live unless a record is replayed.
    told: Option<Told>,
}

impl Session {
    fn new(generation: Arc<Generation>, facts: RequestFacts, skipped: bool) -> Self {
        let instances = RequestInstances::new(generation.chain().len(), generation.pool(), &facts);
        let time = Time::new(generation.request_timeout(), generation.chain().len());
        let facts = Arc::new(facts);
        let is_add = facts.command == Command::Add;
        let sink = generation.sink().filter(|_| !skipped);
        let tape = Taping::new(sink, &facts);
        let bound = Guard::new(&generation.services().states, is_add.then_some(&facts));
        Self {
            generation,
            time,
            facts,
            bound,
            tape,
            told: None,
            allowances: Allowances::default(),
            skipped,
            instances,
            exhausted: BTreeSet::new(),
            given_up: BTreeSet::new(),
            selection_claims: SelectionClaims::default(),
            offered: Vec::new(),
            owned: BTreeMap::new(),
            edit_budgets: BTreeMap::new(),
            reserved: Reserved::default(),
            gated: false,
        }
    }

    /// Call when the ADD has succeeded: state that policies bound to it is kept. Otherwise the
    /// session releases it when dropped.
    pub fn succeed(&mut self) {
        self.bound.disarm();
    }

    /// Whether the request is not made.
    fn is_rehearsal(&self) -> bool {
        self.generation.pool().is_rehearsal()
    }

    /// The facts of the request.
    pub fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// Whether the hook's method has to be called: a policy handles it, for this network if one is
    /// given, or earlier hooks left something to check or remove. Otherwise the value stands.
    pub fn involves(&self, hook: Hook, network: Option<&str>) -> bool {
        let is_needed = || match hook {
            // A policy that does not load may deny.
            Hook::Select => {
                let mut chain = self.generation.chain().iter();
                !self.skipped && chain.any(|policy| policy.broken_reason().is_some())
            }
            // Records each attachment for later hooks.
            Hook::BeforeAdd => !self.generation.chain().is_empty(),
            Hook::Finalize => self.owned.values().any(|owned| !owned.claims.is_empty()),
            Hook::Del => !self.generation.services().states.is_empty(),
            Hook::Configure | Hook::AfterAdd | Hook::Check | Hook::Status | Hook::Gc => false,
        };
        self.asks(hook, network) || is_needed()
    }

    /// Offers the pod's selections, without the default network. Called once, on ADD.
    ///
    /// Resolve the returned selections as if the pod had asked for them: a policy may name a
    /// network of any namespace, and the daemon enforces namespace isolation.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure.
    pub async fn select(&mut self, selections: Vec<Selection>) -> Result<Selected, Denied> {
        let mut report = Report::default();
        self.gate(Hook::Select, &mut report)?;
        let working = Working::new(SelectionsDraft::new(selections));
        let working = self
            .chain(Hook::Select, None, working, Stage::Select, &mut report)
            .await?;
        let claims = working.claims();
        let draft = working.finish();
        let sound = invariants::selections(&draft, &claims);
        self.sound(Hook::Select, sound, &mut report)?;
        self.selection_claims = draft.claims_for_attachments(&claims);
        Ok(Selected {
            selections: draft.into_chosen(),
            report,
        })
    }

    /// Offers one attachment before its delegate runs. Called on ADD for each attachment, in order.
    ///
    /// A policy may rename the interface, but not to one of an earlier attachment.
    /// [`settle`](Self::settle) checks the combined edits.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure.
    pub async fn before_add(
        &mut self,
        attachment: Attachment,
    ) -> Result<(Attachment, Report), Denied> {
        let mut report = Report::default();
        let network = attachment.network.clone();
        self.gate(Hook::BeforeAdd, &mut report)?;
        self.gate_network(&network, &mut report)?;
        let draft = AttachmentDraft::new(attachment, Arc::clone(&self.reserved));
        let owned = self.selection_claims.claims(draft.attachment());
        let (hook, working) = (Hook::BeforeAdd, Working::owned(draft, owned));
        let before = working.current();
        let working = self
            .chain(hook, Some(&network), working, Stage::BeforeAdd, &mut report)
            .await?;
        self.offer(before, working.claims());
        let attachment = working.finish().into_attachment();
        self.name_bonds(&attachment.if_name).await;
        Arc::make_mut(&mut self.reserved).insert(attachment.if_name.clone(), network);
        Ok((attachment, report))
    }

    /// Offers the delegate's result for `attachment`. Called on ADD after each delegate.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure: roll the ADD back.
    pub async fn after_add(
        &mut self,
        attachment: impl Into<Arc<Attachment>>,
        result: CniResult,
    ) -> Result<(Outcome, Report), Denied> {
        let mut report = Report::default();
        let attachment: Arc<Attachment> = attachment.into();
        let network = attachment.network.clone();
        let stage = |outcome| Stage::AfterAdd {
            attachment: Arc::clone(&attachment),
            outcome,
        };
        let working = Working::new(OutcomeDraft::new(result));
        let working = self
            .chain(Hook::AfterAdd, Some(&network), working, stage, &mut report)
            .await?;
        let claims = working.claims();
        let draft = working.finish();
        let sound = invariants::result(draft.result(), &claims, "");
        self.sound(Hook::AfterAdd, sound, &mut report)?;
        let left = (!claims.is_empty()).then(|| Arc::new(draft.clone()));
        let owned = Owned { claims, left };
        self.owned.insert(attachment.if_name.clone(), owned);
        Ok((draft.into(), report))
    }

    /// Offers the whole plan, the result for the runtime, and the result of each attachment for
    /// network-status. Called last on ADD.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure: roll the ADD back.
    pub async fn finalize(
        &mut self,
        plan: &[Attachment],
        result: CniResult,
        statuses: Vec<CniResult>,
    ) -> Result<(Finale, Report), Denied> {
        let mut report = Report::default();
        let plan: Arc<[Attachment]> = plan.into();
        let stage = |finale| Stage::Finalize {
            plan: Arc::clone(&plan),
            finale,
        };
        let owned = plan.iter().map(|attachment| {
            let owned = self.owned.remove(&attachment.if_name);
            owned.unwrap_or_default()
        });
        let owned: Vec<Owned> = owned.collect();
        let status = |(index, result): (usize, CniResult)| {
            let left = owned.get(index).and_then(|one| one.left.as_deref());
            let tags = left.map(|left| left.tags().clone()).unwrap_or_default();
            Arc::new(OutcomeDraft::with_tags(result, tags))
        };
        let draft = FinaleDraft {
            result: Arc::new(OutcomeDraft::new(result)),
            statuses: statuses.into_iter().enumerate().map(status).collect(),
        };
        let owned = draft.owned(&owned);
        let working = Working::owned(draft, owned);
        let working = self
            .chain(Hook::Finalize, None, working, stage, &mut report)
            .await?;
        let claims = working.claims();
        let draft = working.finish();
        let sound = invariants::finale(&draft, &claims);
        self.sound(Hook::Finalize, sound, &mut report)?;
        let finale = Finale {
            outcome: Arc::unwrap_or_clone(draft.result).into(),
            statuses: draft
                .statuses
                .into_iter()
                .map(|status| Arc::unwrap_or_clone(status).into())
                .collect(),
        };
        Ok((finale, report))
    }

    /// Offers one stored attachment and its stored result. Called on CHECK for each attachment.
    ///
    /// # Errors
    /// [`Denied`] if a policy reports an error, or fails and is closed for that failure.
    pub async fn check(
        &mut self,
        attachment: &Attachment,
        result: &CniResult,
    ) -> Result<Report, Denied> {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        self.tape.offer(Hook::Check, || {
            Value::Check(Arc::clone(&attachment), Arc::new(result.clone()))
        });
        for turn in self.turns(Hook::Check, Some(&attachment.network)) {
            let stored = Box::new(OutcomeDraft::new(result.clone()));
            let stage = Stage::Check {
                attachment: Arc::clone(&attachment),
                stored,
            };
            self.turn(&turn, Hook::Check, stage, &mut report).await?;
        }
        Ok(report)
    }

    /// Tells the policies that a stored attachment goes away. Called on DEL after detaching; cannot
    /// deny. A policy that ran out of time is not called for the remaining attachments.
    pub async fn del(&mut self, attachment: &Attachment) -> Report {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        self.tape
            .offer(Hook::Del, || Value::Del(Arc::clone(&attachment)));
        for turn in self.turns(Hook::Del, Some(&attachment.network)) {
            let stage = Stage::Del {
                attachment: Arc::clone(&attachment),
            };
            // Never an error: DEL cannot deny, and its failures are open.
            let _ = self.turn(&turn, Hook::Del, stage, &mut report).await;
        }
        self.release(attachment).await;
        report
    }

    async fn status(&mut self) -> Result<(), Denied> {
        if self.skipped {
            return Ok(());
        }
        for policy in self.generation.chain() {
            if policy.is_required()
                && let Some(reason) = policy.broken_reason()
            {
                let message = match policy.is_loading() {
                    Some(_) => format!("the policy is required and not loaded yet: {reason}"),
                    None => format!("the policy is required and not loaded: {reason}"),
                };
                return Err(policy.deny(Hook::Status, Cause::Load, message));
            }
            // Not ready before the first policies load; a policy added later does not matter.
            if policy.is_loading() == Some(Loading::AtStart)
                && policy.mode() == Mode::Enforce
                && policy.is_closed(Cause::Load)
            {
                let message = "the policy is not loaded yet".to_owned();
                return Err(policy.deny(Hook::Status, Cause::Load, message));
            }
        }
        let mut report = Report::default();
        self.tape.offer(Hook::Status, || Value::Status);
        for turn in self.turns(Hook::Status, None) {
            self.turn(&turn, Hook::Status, Stage::Idle, &mut report)
                .await?;
        }
        Ok(())
    }

    async fn gc(&mut self, valid: &[(String, String)]) -> Report {
        let mut report = Report::default();
        let attachments: Arc<[ValidAttachment]> = valid
            .iter()
            .map(|(container_id, if_name)| ValidAttachment {
                container_id: container_id.clone(),
                if_name: if_name.clone(),
            })
            .collect();
        self.tape
            .offer(Hook::Gc, || Value::Gc(Arc::clone(&attachments)));
        for turn in self.turns(Hook::Gc, None) {
            // No error, as on DEL.
            let _ = self
                .turn(
                    &turn,
                    Hook::Gc,
                    Stage::Gc {
                        valid: Arc::clone(&attachments),
                    },
                    &mut report,
                )
                .await;
        }
        let containers: Vec<String> = valid.iter().map(|(id, _)| id.clone()).collect();
        let services = Arc::clone(self.generation.services());
        with_states(services, move |states| {
            let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
            states.keep(&containers);
        })
        .await;
        report
    }

    /// Renames the interface in bonds that policies made before one of them renamed it.
    fn name_bonds(&self, if_name: &str) -> impl Future<Output = ()> + use<> {
        let states = &self.generation.services().states;
        let unwritten = states.rename(&self.facts, if_name);
        async move {
            if !unwritten.is_empty() {
                // Only the write can fail, and it logs the error.
                let _ = tokio::task::spawn_blocking(move || unwritten.write()).await;
            }
        }
    }

    /// Removes the state that policies bound to an attachment.
    fn release(&self, attachment: Arc<Attachment>) -> impl Future<Output = ()> + use<> {
        let facts = Arc::clone(&self.facts);
        let services = Arc::clone(self.generation.services());
        with_states(services, move |states| {
            states.release(
                &facts.container_id,
                &attachment.if_name,
                attachment.is_default,
            );
        })
    }
}

/// Runs a closure over the kept state of all policies; it may write files. Not a method of the
/// session, because a session cannot be shared between threads.
async fn with_states(services: Arc<Services>, work: impl FnOnce(&States) + Send + 'static) {
    if services.states.is_empty() {
        return;
    }
    let work = tokio::task::spawn_blocking(move || work(&services.states));
    if let Err(error) = work.await {
        tracing::error!(target: "cnidaria::policy", %error, "what policies keep was not cleared");
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("generation", &self.generation.number())
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl From<OutcomeDraft> for Outcome {
    fn from(draft: OutcomeDraft) -> Self {
        let (result, tags) = draft.into_parts();
        Self { result, tags }
    }
}
