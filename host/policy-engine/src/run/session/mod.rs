//! One request's pass through the policies: at most one store per policy, dropped with the session.

#[cfg(feature = "compile")]
mod again;
mod allowances;
mod begin;
mod chain;
mod gate;
mod node;
mod settle;
mod time;
mod turn;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::result::CniResult;

use crate::pool::RequestInstances;
use crate::record::{Taping, Value};
use allowances::Allowances;
use time::Time;

use crate::model::outside::RecordedAnswers;
use crate::model::report::{Denied, Hook, Report};
use crate::model::request::{
    Chosen, ChosenDefault, Command, Networks, PolicyAttachment, RequestFacts, Selection,
};
use crate::run::generation::Generation;
use crate::state::{Guard, States};
use crate::transaction::{
    AttachmentDraft, FinaleDraft, OutcomeDraft, Owned, RequestBudget, Reserved, SelectionClaims,
    SelectionsDraft, Working,
    invariants::{self, Offered},
};
use crate::wasm::services::Services;
use crate::wasm::stage::Stage;

/// The outcome of the select hook.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The default network.
    pub default: ChosenDefault,
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
    /// All attachments, those offered so far as policies left them; empty unless a policy's
    /// before-add hook sees them.
    planned: Vec<Arc<PolicyAttachment>>,
    /// How many attachments were offered to before-add, skipped ones included.
    position: usize,
    /// The policies that failed in this request.
    failed: BTreeSet<usize>,
    /// Which parts of the results so far policies own, by interface.
    owned: BTreeMap<String, Owned>,
    /// Remaining edit budgets, by policy index.
    edit_budgets: BTreeMap<usize, Arc<RequestBudget>>,
    /// What all policies together may still edit, once one of them edits.
    all_edits: Option<Arc<RequestBudget>>,
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
    answers: Option<RecordedAnswers>,
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
            answers: None,
            allowances: Allowances::default(),
            skipped,
            instances,
            exhausted: BTreeSet::new(),
            given_up: BTreeSet::new(),
            selection_claims: SelectionClaims::default(),
            offered: Vec::new(),
            planned: Vec::new(),
            position: 0,
            failed: BTreeSet::new(),
            owned: BTreeMap::new(),
            edit_budgets: BTreeMap::new(),
            all_edits: None,
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
            _ => false,
        };
        let validates = match hook {
            Hook::Select => self.asks(Hook::ValidateSelections, None),
            Hook::Finalize => self.asks(Hook::ValidateResult, None),
            _ => false,
        };
        self.asks(hook, network) || validates || is_needed()
    }

    /// Offers the pod's selections, without the default network. Called once, on ADD.
    ///
    /// # Errors
    /// Same as [`select_networks`](Self::select_networks).
    pub async fn select(&mut self, selections: Vec<Selection>) -> Result<Selected, Denied> {
        self.select_networks(Networks {
            of_pod: selections,
            ..Networks::default()
        })
        .await
    }

    /// Offers the networks that a pod gets, then shows the result to the policies that validate it.
    /// Called once, on ADD.
    ///
    /// Resolve the returned selections as if the pod had asked for them: a policy may name a
    /// network of any namespace, and the daemon enforces namespace isolation.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure.
    pub async fn select_networks(&mut self, networks: Networks) -> Result<Selected, Denied> {
        let mut report = Report::default();
        self.gate(Hook::Select, &mut report)?;
        let working = Working::new(SelectionsDraft::new(networks));
        let working = self
            .chain(Hook::Select, None, working, Stage::Select, &mut report)
            .await?;
        let claims = working.claims();
        let draft = working.current();
        let sound = invariants::selections(&draft, &claims);
        self.sound(Hook::Select, sound, &mut report)?;
        drop(working);
        let stage = || Stage::ValidateSelections(Arc::clone(&draft));
        self.validate(Hook::ValidateSelections, stage, &mut report)
            .await?;
        self.selection_claims = draft.claims_for_attachments(&claims);
        let (default, selections) = Arc::unwrap_or_clone(draft).into_chosen(&claims);
        Ok(Selected {
            default,
            selections,
            report,
        })
    }

    /// Offers one attachment before its delegate runs. Called on ADD for each attachment, in order.
    /// If it comes back skipped, leave it out.
    ///
    /// A policy may rename the interface, but not to one of an earlier attachment.
    /// [`settle`](Self::settle) checks the combined edits.
    ///
    /// # Errors
    /// [`Denied`] if a policy denies, or fails and is closed for that failure.
    pub async fn before_add(
        &mut self,
        attachment: PolicyAttachment,
    ) -> Result<(PolicyAttachment, Report), Denied> {
        let mut report = Report::default();
        let network = attachment.network.clone();
        self.gate(Hook::BeforeAdd, &mut report)?;
        self.gate_network(&network, &mut report)?;
        let draft = AttachmentDraft::new(attachment, Arc::clone(&self.reserved));
        let owned = self.selection_claims.claims(draft.attachment());
        let (hook, working) = (Hook::BeforeAdd, Working::owned(draft, owned));
        let before = working.current();
        let plan = self.planned(before.attachment());
        let stage = |attachment| Stage::BeforeAdd {
            attachment,
            plan: plan.clone(),
        };
        let working = self
            .chain(hook, Some(&network), working, stage, &mut report)
            .await?;
        let claims = working.claims();
        let attachment = working.finish().into_attachment();
        if let Some(place) = self.planned.get_mut(plan.position) {
            *place = Arc::new(attachment.clone());
        }
        self.position += 1;
        if attachment.skipped {
            return Ok((attachment, report));
        }
        self.offer(before, claims);
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
        attachment: impl Into<Arc<PolicyAttachment>>,
        result: CniResult,
    ) -> Result<(Outcome, Report), Denied> {
        let mut report = Report::default();
        let attachment: Arc<PolicyAttachment> = attachment.into();
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
        plan: &[PolicyAttachment],
        result: CniResult,
        statuses: Vec<CniResult>,
    ) -> Result<(Finale, Report), Denied> {
        let mut report = Report::default();
        let plan: Arc<[PolicyAttachment]> = plan.into();
        let stage = |finale| Stage::Finalize {
            plan: Arc::clone(&plan),
            finale,
        };
        let owned = plan.iter().map(|attachment| {
            let owned = self.owned.remove(&attachment.if_name);
            owned.unwrap_or_default()
        });
        let owned: Vec<Owned> = owned.collect();
        let tags = |index: usize| {
            let left = owned.get(index).and_then(|one| one.left.as_deref());
            left.map(|left| left.tags().clone()).unwrap_or_default()
        };
        let status = |(index, result)| Arc::new(OutcomeDraft::with_tags(result, tags(index)));
        let draft = FinaleDraft {
            result: Arc::new(OutcomeDraft::new(result).after(tags(0))),
            statuses: statuses.into_iter().enumerate().map(status).collect(),
        };
        let owned = draft.owned(&owned);
        let working = Working::owned(draft, owned);
        let working = self
            .chain(Hook::Finalize, None, working, stage, &mut report)
            .await?;
        let claims = working.claims();
        let draft = working.current();
        let sound = invariants::finale(&draft, &claims);
        self.sound(Hook::Finalize, sound, &mut report)?;
        drop(working);
        let stage = || Stage::ValidateResult {
            plan: Arc::clone(&plan),
            finale: Arc::clone(&draft),
        };
        self.validate(Hook::ValidateResult, stage, &mut report)
            .await?;
        let draft = Arc::unwrap_or_clone(draft);
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
        attachment: &PolicyAttachment,
        stored: &Outcome,
    ) -> Result<Report, Denied> {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        let stored = Arc::new(stored.draft());
        self.tape.offer(Hook::Check, || {
            Value::Check(Arc::clone(&attachment), Arc::clone(&stored))
        });
        for turn in self.turns(Hook::Check, Some(&attachment.network)) {
            let stored = Arc::clone(&stored);
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
    ///
    /// `stored` is what its delegate answered, if it did, with the policies' tags.
    pub async fn del(&mut self, attachment: &PolicyAttachment, stored: &Outcome) -> Report {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        let stored = Arc::new(stored.draft());
        self.tape.offer(Hook::Del, || {
            Value::Del(Arc::clone(&attachment), Arc::clone(&stored))
        });
        for turn in self.turns(Hook::Del, Some(&attachment.network)) {
            let stage = Stage::Del {
                attachment: Arc::clone(&attachment),
                stored: Arc::clone(&stored),
            };
            // Never an error: DEL cannot deny, and its failures are open.
            let _ = self.turn(&turn, Hook::Del, stage, &mut report).await;
        }
        self.release(attachment).await;
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
    fn release(&self, attachment: Arc<PolicyAttachment>) -> impl Future<Output = ()> + use<> {
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
        tracing::error!(target: "cnidaria::policy", %error, "cannot clear the state that policies bound to a removed attachment");
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

impl Outcome {
    /// An outcome without tags.
    pub fn new(result: CniResult) -> Self {
        Self {
            result,
            tags: BTreeMap::new(),
        }
    }

    fn draft(&self) -> OutcomeDraft {
        OutcomeDraft::with_tags(self.result.clone(), self.tags.clone())
    }
}

impl From<OutcomeDraft> for Outcome {
    fn from(draft: OutcomeDraft) -> Self {
        let (result, tags) = draft.into_parts();
        Self { result, tags }
    }
}
