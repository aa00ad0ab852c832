//! One request's way through the policies: at most one store a policy, dropped with the session.

mod allowances;
mod chain;
mod instances;
mod settle;
mod time;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::result::CniResult;

use allowances::Allowances;
use instances::Instances;
use time::Time;

use crate::bindings::cnidaria::policy::types::ValidAttachment;
use crate::generation::{Generation, Mode};
use crate::policy::Loading;
use crate::report::{Cause, Denied, Hook, Report};
use crate::request::{Attachment, Chosen, Command, RequestFacts, Selection};
use crate::services::Services;
use crate::state::{Guard, States};
use crate::store::Stage;
use crate::transaction::{
    AttachmentDraft, FinaleDraft, OutcomeDraft, Owned, RequestBudget, Reserved, SelectionsDraft,
    Working,
    invariants::{self, Offered},
};

/// What the select hook leaves.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The selections, in order.
    pub selections: Vec<Chosen>,
    /// What happened.
    pub report: Report,
}

/// What the after-add hook leaves.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The result, rewritten or not.
    pub result: CniResult,
    /// Tags for network-status, by key.
    pub tags: BTreeMap<String, String>,
}

/// What the finalize hook leaves.
#[derive(Debug, Clone)]
pub struct Finale {
    /// For the runtime. Tags of it belong to the default network.
    pub outcome: Outcome,
    /// What network-status is to say of each attachment, in the order of the plan.
    pub statuses: Vec<Outcome>,
}

/// The policies of one request. Hooks are called in the order of the request's way.
pub struct Session {
    generation: Arc<Generation>,
    facts: Arc<RequestFacts>,
    /// No policy runs: the namespace is exempt, or the node's bypass is on.
    skipped: bool,
    /// One place for each policy of the generation.
    instances: Instances,
    /// What the policies have spent.
    time: Time,
    /// Policies that are not called again in this request: out of time, by their places.
    exhausted: BTreeSet<usize>,
    /// Policies that used up a budget of the request and are open on timeout, by their places.
    given_up: BTreeSet<usize>,
    /// The attachments so far as they were offered in before-add.
    offered: Vec<Offered>,
    /// What policies own of the results of the attachments so far.
    owned: Vec<Owned>,
    /// What policies may still edit, by their places.
    edit_budgets: BTreeMap<usize, Arc<RequestBudget>>,
    /// Interfaces of the attachments so far.
    reserved: Reserved,
    /// Whether the policies that do not load were asked about the request as a whole.
    gated: bool,
    /// What policies may still report and log in this request, by their places.
    allowances: Allowances,
    /// Has an ADD that fails give back what policies bound to what it was going to make.
    bound: Guard,
}

impl Session {
    pub(crate) fn new(generation: Arc<Generation>, facts: RequestFacts, skipped: bool) -> Self {
        let instances = Instances::of(generation.chain(), generation.services());
        let time = Time::new(generation.request_timeout(), generation.chain().len());
        let facts = Arc::new(facts);
        let is_add = facts.command == Command::Add;
        let bound = Guard::new(generation.services(), is_add.then_some(&facts));
        Self {
            generation,
            time,
            facts,
            bound,
            allowances: Allowances::default(),
            skipped,
            instances,
            exhausted: BTreeSet::new(),
            given_up: BTreeSet::new(),
            offered: Vec::new(),
            owned: Vec::new(),
            edit_budgets: BTreeMap::new(),
            reserved: Reserved::default(),
            gated: false,
        }
    }

    /// The ADD has succeeded: what policies keep bound to it stays. Without this call it goes with the
    /// session.
    pub fn succeed(&mut self) {
        self.bound.disarm();
    }

    /// The facts that the session began with.
    pub fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// Whether no policy has to do with what the pod asks for, so that [`select`](Self::select) need
    /// not be called: the selections stand.
    pub fn passes_select(&self) -> bool {
        let chain = self.generation.chain();
        let all_load = || chain.iter().all(|policy| policy.broken_reason().is_none());
        self.skipped || (!self.asks(Hook::Select, None) && all_load())
    }

    /// Offers the pod's selections, the default network not among them. Called once, on ADD.
    ///
    /// What comes out has to be resolved as if the pod had asked for it: a policy may name a
    /// network of any namespace, and isolation of namespaces is the daemon's.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure.
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
        Ok(Selected {
            selections: draft.into_chosen(),
            report,
        })
    }

    /// Offers one attachment before its delegate runs. Called on ADD for each attachment, in order.
    ///
    /// A policy may rename the interface, to none of an earlier attachment; what all edits come to
    /// together is seen by [`settle`](Self::settle).
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure.
    pub async fn before_add(
        &mut self,
        attachment: Attachment,
    ) -> Result<(Attachment, Report), Denied> {
        let mut report = Report::default();
        let network = attachment.network.clone();
        self.gate(Hook::BeforeAdd, &mut report)?;
        self.gate_network(&network, &mut report)?;
        let draft = AttachmentDraft::new(attachment, Arc::clone(&self.reserved));
        let (hook, working) = (Hook::BeforeAdd, Working::new(draft));
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

    /// Whether no policy has to do with what the delegate of the next attachment answered, so that
    /// [`after_add`](Self::after_add) need not be called for it: the answer stands.
    pub fn passes_after_add(&mut self, network: &str) -> bool {
        let passes = !self.asks(Hook::AfterAdd, Some(network));
        if passes {
            self.owned.push(Owned::default());
        }
        passes
    }

    /// Offers what the delegate of `attachment` answered. Called on ADD after each delegate.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure: the ADD is rolled back.
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
        self.owned.push(Owned { claims, left });
        Ok((draft.into(), report))
    }

    /// Whether no policy has to do with the plan as a whole, or with what earlier hooks made of its
    /// results, so that [`finalize`](Self::finalize) need not be called: the results stand.
    pub fn passes_finalize(&self) -> bool {
        !self.asks(Hook::Finalize, None) && self.owned.iter().all(|owned| owned.claims.is_empty())
    }

    /// Offers the whole plan, the result for the runtime, and for each attachment the result that
    /// network-status is made from. Called on ADD, last.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure: the ADD is rolled back.
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
        let outcome = |result| Arc::new(OutcomeDraft::new(result));
        let draft = FinaleDraft {
            result: outcome(result),
            statuses: statuses.into_iter().map(outcome).collect(),
        };
        let owned = draft.owned(&self.owned);
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

    /// Shows one stored attachment and its stored result. Called on CHECK for each attachment.
    ///
    /// # Errors
    /// [`Denied`] when a policy finds fault, or fails and is closed on failure.
    pub async fn check(
        &mut self,
        attachment: &Attachment,
        result: &CniResult,
    ) -> Result<Report, Denied> {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        for seat in self.turns(Hook::Check, Some(&attachment.network)) {
            let stored = Box::new(OutcomeDraft::new(result.clone()));
            let stage = Stage::Check {
                attachment: Arc::clone(&attachment),
                stored,
            };
            self.turn(&seat, Hook::Check, stage, &mut report).await?;
        }
        Ok(report)
    }

    /// Whether no policy has to do with a stored attachment in this hook, [`check`](Self::check) or
    /// [`del`](Self::del), which need not be called for it then.
    pub fn passes(&self, hook: Hook, network: &str) -> bool {
        let keeps = hook == Hook::Del && !self.generation.services().states.is_empty();
        !keeps && !self.asks(hook, Some(network))
    }

    /// Tells the policies of a stored attachment that goes away. Called on DEL, when the attachment is
    /// detached; cannot refuse. A policy that ran out of time is not called for the other attachments.
    pub async fn del(&mut self, attachment: &Attachment) -> Report {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        for seat in self.turns(Hook::Del, Some(&attachment.network)) {
            let stage = Stage::Del {
                attachment: Arc::clone(&attachment),
            };
            // Del cannot deny and its failures are open, so there is no error.
            let _ = self.turn(&seat, Hook::Del, stage, &mut report).await;
        }
        self.release(attachment).await;
        report
    }

    pub(crate) async fn status(&mut self) -> Result<(), Denied> {
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
            // A node is not ready before its policies are, but a policy that comes later takes it from no pod.
            if policy.is_loading() == Some(Loading::AtStart)
                && policy.mode() == Mode::Enforce
                && policy.is_closed(Cause::Load)
            {
                let message = "the policy is not loaded yet".to_owned();
                return Err(policy.deny(Hook::Status, Cause::Load, message));
            }
        }
        let mut report = Report::default();
        for seat in self.turns(Hook::Status, None) {
            self.turn(&seat, Hook::Status, Stage::Idle, &mut report)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn gc(&mut self, valid: &[(String, String)]) -> Report {
        let mut report = Report::default();
        let attachments: Arc<[ValidAttachment]> = valid
            .iter()
            .map(|(container_id, if_name)| ValidAttachment {
                container_id: container_id.clone(),
                if_name: if_name.clone(),
            })
            .collect();
        for seat in self.turns(Hook::Gc, None) {
            // As del.
            let _ = self
                .turn(
                    &seat,
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

    /// Lets bonds that policies made before one of them renamed the interface follow it.
    fn name_bonds(&self, if_name: &str) -> impl Future<Output = ()> + use<> {
        let states = &self.generation.services().states;
        let unwritten = states.rename(&self.facts, if_name);
        async move {
            if !unwritten.is_empty() {
                // Only the write can fail, which is logged.
                let _ = tokio::task::spawn_blocking(move || unwritten.write()).await;
            }
        }
    }

    /// Removes what policies keep bound to an attachment.
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

/// Does something with what all policies keep, which may take the time of writing files. Not of a
/// session: its instances cannot be looked at by two threads.
pub(crate) async fn with_states(
    services: Arc<Services>,
    work: impl FnOnce(&States) + Send + 'static,
) {
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
