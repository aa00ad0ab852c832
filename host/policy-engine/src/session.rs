//! One request's way through the policies: at most one store a policy, dropped with the session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cni_types::result::CniResult;

use crate::bindings::cnidaria::policy::types::ValidAttachment;
use crate::call::{Answer, Failure, Instance};
use crate::config::{OnConflict, Spec, count};
use crate::generation::{Generation, Mode};
use crate::journal;
use crate::policy::Policy;
use crate::ports::{Evaluation, Verdict};
use crate::report::{AppliedEdit, Cause, Denied, Finding, Hook, Report, Severity, clean};
use crate::request::{Attachment, Chosen, RequestFacts, Selection};
use crate::store::Stage;
use crate::transaction::{
    AttachmentDraft, Budget, Draft, FinaleDraft, OutcomeDraft, Reserved, SelectionsDraft,
    Transaction, Working,
};

/// Bytes of a denial's message, and of its details.
const MAX_MESSAGE: usize = 1024;
const MAX_DETAILS: usize = 4096;

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

/// What a call gives: the answer, what the hook worked on, and what was reported.
type Called = Result<(Answer, Stage, Vec<Finding>), Failure>;

/// The policies of one request. Hooks are called in the order of the request's way.
pub struct Session {
    generation: Arc<Generation>,
    facts: Arc<RequestFacts>,
    /// No policy runs: the namespace is exempt, or the node's bypass is on.
    skipped: bool,
    /// One place for each policy of the generation.
    instances: Vec<Option<Instance>>,
    /// Interfaces of the attachments so far.
    reserved: Reserved,
    /// Whether the policies that do not load were asked about the request as a whole.
    gated: bool,
}

impl Session {
    pub(crate) fn new(generation: Arc<Generation>, facts: RequestFacts, skipped: bool) -> Self {
        let instances = generation.chain().iter().map(|_| None).collect();
        Self {
            generation,
            facts: Arc::new(facts),
            skipped,
            instances,
            reserved: Reserved::default(),
            gated: false,
        }
    }

    /// The facts that the session began with.
    pub fn facts(&self) -> &RequestFacts {
        &self.facts
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
        let draft = SelectionsDraft::new(selections);
        let draft = self
            .chain(Hook::Select, None, draft, Stage::Select, &mut report)
            .await?;
        Ok(Selected {
            selections: draft.into_chosen(),
            report,
        })
    }

    /// Offers one attachment before its delegate runs. Called on ADD for each attachment, in order.
    ///
    /// A policy may rename the interface, to none of an earlier attachment; whether a later one
    /// asks for the same name is for the daemon to see.
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
        let hook = Hook::BeforeAdd;
        let draft = self
            .chain(hook, Some(&network), draft, Stage::BeforeAdd, &mut report)
            .await?;
        let attachment = draft.into_attachment();
        Arc::make_mut(&mut self.reserved).insert(attachment.if_name.clone(), network);
        Ok((attachment, report))
    }

    /// Offers what the delegate of `attachment` answered. Called on ADD after each delegate.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure: the ADD is rolled back.
    pub async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<(Outcome, Report), Denied> {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        let network = attachment.network.clone();
        let stage = |outcome| Stage::AfterAdd {
            attachment: Arc::clone(&attachment),
            outcome,
        };
        let draft = OutcomeDraft::new(result);
        let draft = self
            .chain(Hook::AfterAdd, Some(&network), draft, stage, &mut report)
            .await?;
        Ok((draft.into(), report))
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
        let draft = FinaleDraft {
            result: OutcomeDraft::new(result),
            statuses: statuses.into_iter().map(OutcomeDraft::new).collect(),
        };
        let draft = self
            .chain(Hook::Finalize, None, draft, stage, &mut report)
            .await?;
        let finale = Finale {
            outcome: draft.result.into(),
            statuses: draft.statuses.into_iter().map(Outcome::from).collect(),
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
        for (index, policy) in self.turns(Hook::Check, Some(&attachment.network)) {
            let stored = OutcomeDraft::new(result.clone());
            let stage = Stage::Check {
                attachment: Arc::clone(&attachment),
                stored,
            };
            self.turn(index, &policy, Hook::Check, stage, &[], &mut report)
                .await?;
        }
        Ok(report)
    }

    /// Tells the policies of a stored attachment that goes away. Called on DEL; cannot refuse.
    pub async fn del(&mut self, attachment: &Attachment) -> Report {
        let mut report = Report::default();
        let attachment = Arc::new(attachment.clone());
        for (index, policy) in self.turns(Hook::Del, Some(&attachment.network)) {
            let stage = Stage::Del {
                attachment: Arc::clone(&attachment),
            };
            // Del cannot deny and its failures are open, so there is no error.
            let _ = self
                .turn(index, &policy, Hook::Del, stage, &[], &mut report)
                .await;
        }
        let states = &self.generation.services().states;
        states.release(
            &self.facts.container_id,
            &attachment.if_name,
            attachment.is_default,
        );
        report
    }

    pub(crate) async fn status(&mut self) -> Result<(), Denied> {
        if self.skipped {
            return Ok(());
        }
        for policy in self.generation.chain() {
            if policy.required()
                && let Some(reason) = policy.broken_reason()
            {
                let message = format!("the policy is required and not loaded: {reason}");
                return Err(policy.deny(Hook::Status, Cause::Load, message));
            }
        }
        let mut report = Report::default();
        for (index, policy) in self.turns(Hook::Status, None) {
            self.turn(index, &policy, Hook::Status, Stage::Idle, &[], &mut report)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn gc(&mut self, valid: &[(String, String)]) -> Report {
        let mut report = Report::default();
        let attachments: Vec<ValidAttachment> = valid
            .iter()
            .map(|(container_id, if_name)| ValidAttachment {
                container_id: container_id.clone(),
                if_name: if_name.clone(),
            })
            .collect();
        for (index, policy) in self.turns(Hook::Gc, None) {
            // As del.
            let _ = self
                .turn(
                    index,
                    &policy,
                    Hook::Gc,
                    Stage::Idle,
                    &attachments,
                    &mut report,
                )
                .await;
        }
        let containers: Vec<&str> = valid
            .iter()
            .map(|(container_id, _)| container_id.as_str())
            .collect();
        self.generation.services().states.keep(&containers);
        report
    }

    /// The policies that have the hook and see the request, in their order.
    fn turns(&self, hook: Hook, network: Option<&str>) -> Vec<(usize, Arc<Policy>)> {
        if self.skipped {
            return Vec::new();
        }
        let chain = self.generation.chain().iter().enumerate();
        chain
            .filter(|(_, policy)| policy.has(hook) && policy.sees(&self.facts, network))
            .map(|(index, policy)| (index, Arc::clone(policy)))
            .collect()
    }

    /// Denies what a policy that does not load would have seen. Once in a request, on ADD.
    fn gate(&mut self, hook: Hook, report: &mut Report) -> Result<(), Denied> {
        if std::mem::replace(&mut self.gated, true) {
            return Ok(());
        }
        self.gate_those(hook, None, report)
    }

    /// As [`gate`](Self::gate), for policies that are about some networks only.
    fn gate_network(&self, network: &str, report: &mut Report) -> Result<(), Denied> {
        self.gate_those(Hook::BeforeAdd, Some(network), report)
    }

    fn gate_those(
        &self,
        hook: Hook,
        network: Option<&str>,
        report: &mut Report,
    ) -> Result<(), Denied> {
        if self.skipped {
            return Ok(());
        }
        for policy in self.generation.chain() {
            let Some(reason) = policy.broken_reason() else {
                continue;
            };
            if policy.names_networks() == network.is_some() && policy.sees(&self.facts, network) {
                let failure = Failure {
                    cause: Cause::Load,
                    reason: format!("not loaded: {reason}"),
                };
                self.fail(policy, hook, &failure, report)?;
            }
        }
        Ok(())
    }

    /// Runs a hook that edits: each policy starts from what those before it left.
    async fn chain<D: Draft + StagedIn>(
        &mut self,
        hook: Hook,
        network: Option<&str>,
        draft: D,
        stage: impl Fn(Transaction<D>) -> Stage,
        report: &mut Report,
    ) -> Result<D, Denied> {
        let mut working = Working::new(draft);
        for (index, policy) in self.turns(hook, network) {
            let Some(spec) = &policy.spec else { continue };
            let transaction = working.begin(Arc::clone(&policy.name), budget(spec));
            let turn = self
                .turn(index, &policy, hook, stage(transaction), &[], report)
                .await?;
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
                match self.deny(&policy, denied, report) {
                    Some(denied) => return Err(denied),
                    None => continue,
                }
            }
            let staged = working.staged(transaction);
            let applied = match spec.mode {
                Mode::Audit => staged.patch,
                Mode::Enforce | Mode::Off => working.commit(&policy.name, staged),
            };
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
        Ok(working.finish())
    }

    /// Calls one policy, and decides what its answer or its failure means. Gives what it worked on
    /// when it accepted, nothing when the request goes on without it.
    async fn turn(
        &mut self,
        index: usize,
        policy: &Policy,
        hook: Hook,
        stage: Stage,
        valid: &[ValidAttachment],
        report: &mut Report,
    ) -> Result<Option<Stage>, Denied> {
        let start = Instant::now();
        let called = self.call(index, policy, hook, stage, valid).await;
        self.count(policy, hook, &called, start.elapsed());
        let (answer, stage, findings) = match called {
            Ok(answer) => answer,
            Err(failure) => {
                self.fail(policy, hook, &failure, report)?;
                return Ok(None);
            }
        };
        for finding in &findings {
            journal::finding(&self.facts, finding);
        }
        report.findings.extend(findings);
        let Answer::Deny(denial) = answer else {
            return Ok(Some(stage));
        };
        let denied = Denied {
            code: denial.code.max(Denied::FIRST_CODE),
            details: denial.details.map(|details| clean(&details, MAX_DETAILS)),
            ..policy.deny(hook, Cause::Policy, clean(&denial.message, MAX_MESSAGE))
        };
        match self.deny(policy, denied, report) {
            Some(denied) => Err(denied),
            None => Ok(None),
        }
    }

    /// Calls one policy in its instance of this request, made when it is needed first.
    async fn call(
        &mut self,
        index: usize,
        policy: &Policy,
        hook: Hook,
        stage: Stage,
        valid: &[ValidAttachment],
    ) -> Called {
        let missing = || Failure {
            cause: Cause::Load,
            reason: "not loaded".to_owned(),
        };
        let slot = self.instances.get_mut(index).ok_or_else(missing)?;
        // Taken out, so that an instance that failed is not there any more.
        let mut instance = match slot.take() {
            Some(instance) => instance,
            None => {
                let engine = self.generation.engine().ok_or_else(missing)?;
                let module = policy.module.clone().ok_or_else(missing)?;
                let spec = policy.spec.clone().ok_or_else(missing)?;
                let services = Arc::clone(self.generation.services());
                Instance::new(engine, module, spec, Arc::clone(&self.facts), services).await?
            }
        };
        let answer = instance.call(hook, stage, valid).await?;
        if let Some(slot) = self.instances.get_mut(index) {
            *slot = Some(instance);
        }
        Ok(answer)
    }

    fn count(&self, policy: &Policy, hook: Hook, called: &Called, duration: Duration) {
        policy.evaluated();
        if let Some(observer) = &self.generation.services().observer {
            let verdict = match called {
                Ok((Answer::Deny(_), ..)) => Verdict::Deny,
                Ok(_) => Verdict::Accept,
                Err(failure) => Verdict::Failed(failure.cause),
            };
            let (policy, mode) = (&*policy.name, policy.mode());
            observer.evaluated(&Evaluation {
                policy,
                hook,
                mode,
                verdict,
                duration,
            });
        }
    }

    /// What a denial means: the request's end, or a finding in audit mode.
    fn deny(&self, policy: &Policy, mut denied: Denied, report: &mut Report) -> Option<Denied> {
        policy.denied();
        journal::denial(&self.facts, policy.digest(), &denied, policy.mode());
        if policy.mode() != Mode::Audit {
            denied.findings = std::mem::take(&mut report.findings);
            return Some(denied);
        }
        report.findings.push(Finding {
            policy: denied.policy,
            hook: denied.hook,
            severity: Severity::Info,
            code: "policy-audit-deny".to_owned(),
            message: format!(
                "would have denied with code {}: {}",
                denied.code, denied.message
            ),
        });
        None
    }

    /// What a failure means: the request's end, or a finding where the policy is open.
    fn fail(
        &self,
        policy: &Policy,
        hook: Hook,
        failure: &Failure,
        report: &mut Report,
    ) -> Result<(), Denied> {
        policy.failed(hook, failure);
        let open = matches!(hook, Hook::Del | Hook::Gc)
            || policy.mode() == Mode::Audit
            || !policy.is_closed(failure.cause);
        journal::failure(&self.facts, policy, hook, failure, open);
        if !open {
            let mut denied = policy.deny(hook, failure.cause, failure.reason.clone());
            denied.findings = std::mem::take(&mut report.findings);
            return Err(denied);
        }
        report.findings.push(Finding {
            policy: policy.name.to_string(),
            hook,
            severity: Severity::Warning,
            code: format!("policy-{}", failure.cause),
            message: format!("went on without the policy: {}", failure.reason),
        });
        Ok(())
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

fn budget(spec: &Spec) -> Budget {
    Budget {
        edits: u32::try_from(spec.limits.edits).unwrap_or(u32::MAX),
        bytes: count(spec.limits.edit_bytes),
    }
}

/// A draft that knows the stage that it is edited in.
trait StagedIn: Sized {
    /// What the hook worked on.
    fn take(stage: Stage) -> Option<Transaction<Self>>;
}

impl StagedIn for SelectionsDraft {
    fn take(stage: Stage) -> Option<Transaction<Self>> {
        match stage {
            Stage::Select(transaction) => Some(transaction),
            _ => None,
        }
    }
}

impl StagedIn for AttachmentDraft {
    fn take(stage: Stage) -> Option<Transaction<Self>> {
        match stage {
            Stage::BeforeAdd(transaction) => Some(transaction),
            _ => None,
        }
    }
}

impl StagedIn for OutcomeDraft {
    fn take(stage: Stage) -> Option<Transaction<Self>> {
        match stage {
            Stage::AfterAdd { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}

impl StagedIn for FinaleDraft {
    fn take(stage: Stage) -> Option<Transaction<Self>> {
        match stage {
            Stage::Finalize { finale, .. } => Some(finale),
            _ => None,
        }
    }
}
