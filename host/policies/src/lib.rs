//! Runs policies through the policy engine: converts the types both ways and reports what policies
//! did.

mod confs;
mod convert;
mod lookup;
mod rehearsal;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cni_types::args::{Command, ContainerId};
use cni_types::result::CniResult;
use policy_engine::{
    Cause, Denied, Finding, Generation, Hook, PolicyHost, Report, RequestFacts, Session, Severity,
    Witness,
};

use confs::Confs;
pub use lookup::Lookup;
use rehearsal::Recorder;

use cnidaria_core::domain::attachment::Attachment;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::networks::Networks;
use cnidaria_core::domain::pod::{Pod, PodRef};
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::ports::{
    AddFailure, Attached, Cluster, Denial, Event, EventKind, Finale, Policies, PolicyResult,
    PolicySession, Rehearsal,
};

/// The policies of this node.
pub struct Engine {
    host: Arc<PolicyHost>,
    cluster: Arc<dyn Cluster>,
    node_name: String,
    confs: Arc<Confs>,
}

impl Engine {
    /// Serves the policies that `host` holds. `cluster` records denials and findings as Events, and
    /// provides the labels of namespaces.
    pub fn new(host: Arc<PolicyHost>, cluster: Arc<dyn Cluster>, node_name: String) -> Self {
        Self {
            host,
            cluster,
            node_name,
            confs: Arc::default(),
        }
    }

    /// The facts of a request, for the policies of `generation`.
    fn facts(
        &self,
        generation: &Generation,
        command: Command,
        sandbox: &Sandbox,
        pod: Option<&Pod>,
    ) -> RequestFacts {
        let namespace = &sandbox.pod.namespace;
        let needs = generation.needs();
        let pod = pod.filter(|_| needs.pod);
        let namespace_labels = match needs.namespaces {
            true => self.cluster.namespace(namespace).map(|said| said.labels),
            false => None,
        };
        RequestFacts {
            command,
            container_id: sandbox.container_id.to_string(),
            pod: Some(sandbox.pod.clone()),
            labels: pod.map(|pod| pod.labels.clone()).unwrap_or_default(),
            annotations: pod.map(|pod| pod.annotations.clone()).unwrap_or_default(),
            pod_spec: pod
                .map(|pod| convert::pod_spec(&pod.identity))
                .unwrap_or_default(),
            namespace_labels,
            node_name: self.node_name.clone(),
        }
    }

    fn session(&self, session: Session, sandbox: &Sandbox, is_rehearsal: bool) -> EngineSession {
        EngineSession {
            session,
            cluster: Arc::clone(&self.cluster),
            pod: sandbox.pod.clone(),
            confs: Arc::clone(&self.confs),
            shown: Vec::new(),
            is_rehearsal,
        }
    }
}

#[async_trait]
impl Policies for Engine {
    fn begin(
        &self,
        command: Command,
        sandbox: &Sandbox,
        pod: Option<&Pod>,
    ) -> Box<dyn PolicySession> {
        let generation = self.host.current();
        let facts = self.facts(&generation, command, sandbox, pod);
        Box::new(self.session(generation.begin(facts), sandbox, false))
    }

    fn rehearse(&self, sandbox: &Sandbox, pod: &Pod) -> Rehearsal {
        let generation = self.host.current();
        let recorder = Arc::new(Recorder::default());
        let facts = self.facts(&generation, Command::Add, sandbox, Some(pod));
        let witness: Arc<dyn Witness> = recorder.clone();
        let session = generation.rehearse(facts, witness);
        Rehearsal {
            session: Box::new(self.session(session, sandbox, true)),
            record: recorder,
        }
    }

    async fn status(&self) -> Result<(), Denial> {
        self.host.current().status().await.map_err(own_denial)
    }

    async fn release(&self, container: &ContainerId) {
        self.host.current().release(container.as_str()).await;
    }

    async fn gc(&self, valid: &[Attached]) {
        let valid: Vec<(String, String)> = valid
            .iter()
            .map(|one| (one.container_id.to_string(), one.if_name.to_string()))
            .collect();
        // Findings are already logged; GC has no pod to report them to.
        let _ = self.host.current().gc(&valid).await;
    }
}

fn outcome_of(edited: policy_engine::Outcome) -> PolicyResult {
    PolicyResult {
        result: edited.result,
        tags: edited.tags,
    }
}

/// The outcome if no policy applies to a result.
fn untouched(result: CniResult) -> PolicyResult {
    PolicyResult {
        result,
        tags: BTreeMap::new(),
    }
}

fn own_denial(denied: Denied) -> Denial {
    Denial {
        policy: denied.policy,
        hook: denied.hook.as_str(),
        code: denied.code,
        message: denied.message,
        details: denied.details,
    }
}

struct EngineSession {
    session: Session,
    cluster: Arc<dyn Cluster>,
    pod: PodRef,
    confs: Arc<Confs>,
    shown: Vec<Shown>,
    /// Emits no Events.
    is_rehearsal: bool,
}

/// An attachment as shown to policies that did not change it; they may see it again.
struct Shown {
    attachment: Attachment,
    as_shown: Arc<policy_engine::PolicyAttachment>,
}

impl Shown {
    /// Whether an attachment is still the same.
    fn is(&self, other: &Attachment) -> bool {
        let own = &self.attachment;
        own.if_name == other.if_name
            && own.network == other.network
            && own.conf == other.conf
            && own.request == other.request
    }
}

impl EngineSession {
    /// Records warnings as Events for the pod's owner. The engine has logged everything already.
    fn report(&self, report: &Report) {
        self.announce(&report.findings);
    }

    fn announce(&self, findings: &[Finding]) {
        let warnings = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warning);
        for finding in warnings {
            let Finding {
                policy,
                hook,
                code,
                message,
                ..
            } = finding;
            self.tell(
                "PolicyFinding",
                format!("policy {policy} found {code} ({hook}): {message}"),
            );
        }
    }

    fn denial(&self, denied: Denied) -> Denial {
        self.announce(&denied.findings);
        let Denied {
            policy,
            hook,
            message,
            cause,
            ..
        } = &denied;
        match cause {
            Cause::Policy | Cause::Conflict => self.tell(
                "PolicyDenied",
                format!("policy {policy} denied ({hook}): {message}"),
            ),
            cause => self.tell(
                "PolicyFailed",
                format!("policy {policy} failed ({hook}, {cause}): {message}"),
            ),
        }
        own_denial(denied)
    }

    /// The attachments in the form that policies see.
    async fn shown(
        confs: &Confs,
        plan: &[Attachment],
        hook: &'static str,
    ) -> Result<Vec<policy_engine::PolicyAttachment>, Denial> {
        let mut shown = Vec::with_capacity(plan.len());
        for attachment in plan {
            let converted = convert::attachment(attachment, confs);
            shown.push(converted.map_err(|reason| Self::unreadable(hook, reason))?);
            // Parsing the confs of a whole plan takes a while; other requests go on between two.
            tokio::task::yield_now().await;
        }
        Ok(shown)
    }

    fn tell(&self, reason: &'static str, message: String) {
        if self.is_rehearsal {
            return;
        }
        let event = Event {
            kind: EventKind::Warning,
            reason,
            message,
        };
        self.cluster.event(&self.pod, event);
    }

    /// The denial if a value cannot be converted for policies, or back. Fails closed.
    fn unreadable(hook: &'static str, reason: String) -> Denial {
        Denial {
            policy: String::new(),
            hook,
            code: cni_types::error::code::INTERNAL,
            message: "this cannot be exchanged with the policies".to_owned(),
            details: Some(reason),
        }
    }
}

#[async_trait]
impl PolicySession for EngineSession {
    async fn select(&mut self, networks: Networks) -> Result<Networks, Denial> {
        if !self.session.involves(Hook::Select, None) {
            return Ok(networks);
        }
        let offered =
            convert::networks(&networks).map_err(|reason| Self::unreadable("select", reason))?;
        let selected = self
            .session
            .select_networks(offered)
            .await
            .map_err(|denied| self.denial(denied))?;
        self.report(&selected.report);
        convert::selected(networks, selected.selections, selected.default)
            .map_err(|reason| Self::unreadable("select", reason))
    }

    async fn plan(&mut self, attachments: &[Attachment]) -> Result<(), Denial> {
        if self.session.wants_plan() {
            let plan = Self::shown(&self.confs, attachments, "before-add").await?;
            self.session.plan(plan);
        }
        Ok(())
    }

    async fn before_add(&mut self, attachment: Attachment) -> Result<Option<Attachment>, Denial> {
        if !self.session.involves(Hook::BeforeAdd, None) {
            return Ok(Some(attachment));
        }
        let offered = convert::attachment(&attachment, &self.confs)
            .map_err(|reason| Self::unreadable("before-add", reason))?;
        let (edited, report) = self
            .session
            .before_add(offered)
            .await
            .map_err(|denied| self.denial(denied))?;
        self.report(&report);
        if edited.skipped {
            return Ok(None);
        }
        if report.edits.is_empty() {
            let as_shown = Arc::new(edited);
            let attachment = convert::unedited(attachment, &as_shown);
            self.shown.push(Shown {
                attachment: attachment.clone(),
                as_shown,
            });
            return Ok(Some(attachment));
        }
        convert::edited(attachment, edited)
            .map(Some)
            .map_err(|reason| Self::unreadable("before-add", reason))
    }

    async fn settle(&mut self, plan: &[Attachment]) -> Result<(), Denial> {
        if !self.session.end_before_add() {
            return Ok(());
        }
        let shown = Self::shown(&self.confs, plan, "before-add").await?;
        let settled = self.session.settle(&shown).await;
        let report = settled.map_err(|denied| self.denial(denied))?;
        self.report(&report);
        let validated = self.session.validate_plan(&shown).await;
        let report = validated.map_err(|denied| self.denial(denied))?;
        self.report(&report);
        Ok(())
    }

    async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<PolicyResult, Denial> {
        let network = Some(attachment.network.as_str());
        if !self.session.involves(Hook::AfterAdd, network) {
            return Ok(untouched(result));
        }
        let shown = self.shown.iter().find(|shown| shown.is(attachment));
        let offered = match shown {
            Some(shown) => Arc::clone(&shown.as_shown),
            None => convert::attachment(attachment, &self.confs)
                .map_err(|reason| Self::unreadable("after-add", reason))?
                .into(),
        };
        let (outcome, report) = self
            .session
            .after_add(offered, result)
            .await
            .map_err(|denied| self.denial(denied))?;
        self.report(&report);
        Ok(outcome_of(outcome))
    }

    async fn validate_plugged(
        &mut self,
        attachment: &Attachment,
        outcome: &PolicyResult,
    ) -> Result<(), Denial> {
        if !self.session.involves(Hook::ValidateResult, None) {
            return Ok(());
        }
        let shown = convert::attachment(attachment, &self.confs)
            .map_err(|reason| Self::unreadable("validate-result", reason))?;
        let outcome = policy_engine::Outcome {
            result: outcome.result.clone(),
            tags: outcome.tags.clone(),
        };
        let validated = self.session.validate_result(shown, &outcome).await;
        let report = validated.map_err(|denied| self.denial(denied))?;
        self.report(&report);
        Ok(())
    }

    async fn finalize(
        &mut self,
        plan: &[Attachment],
        result: CniResult,
        shown: Vec<CniResult>,
    ) -> Result<Finale, Denial> {
        if !self.session.involves(Hook::Finalize, None) {
            return Ok(Finale {
                outcome: untouched(result),
                shown: shown.into_iter().map(untouched).collect(),
            });
        }
        let offered = Self::shown(&self.confs, plan, "finalize").await?;
        let finalized = self.session.finalize(&offered, result, shown).await;
        let (finale, report) = finalized.map_err(|denied| self.denial(denied))?;
        self.report(&report);
        Ok(Finale {
            outcome: outcome_of(finale.outcome),
            shown: finale.statuses.into_iter().map(outcome_of).collect(),
        })
    }

    async fn check(&mut self, entry: &Entry) -> Result<(), Denial> {
        if entry.result.is_none() {
            return Ok(());
        }
        if !self.session.involves(Hook::Check, Some(&entry.network)) {
            return Ok(());
        }
        let offered = convert::entry(entry, &self.confs)
            .map_err(|reason| Self::unreadable("check", reason))?;
        let checked = self.session.check(&offered, &convert::stored(entry)).await;
        let report = checked.map_err(|denied| self.denial(denied))?;
        self.report(&report);
        Ok(())
    }

    async fn del(&mut self, entry: &Entry) {
        if !self.session.involves(Hook::Del, Some(&entry.network)) {
            return;
        }
        match convert::entry(entry, &self.confs) {
            Ok(offered) => {
                let stored = convert::stored(entry);
                let report = self.session.del(&offered, &stored).await;
                self.report(&report);
            }
            Err(reason) => {
                tracing::error!(
                    container = %entry.container_id,
                    pod = %self.pod,
                    network = entry.network,
                    interface = %entry.if_name,
                    reason,
                    "cannot show a removed attachment to the policies; their del hook is skipped"
                )
            }
        }
    }

    async fn add_failed(&mut self, plan: &[Attachment], why: AddFailure) {
        if !self.session.involves(Hook::AddFailed, None) {
            return;
        }
        // What cannot be shown has failed the ADD already.
        let plan = Self::shown(&self.confs, plan, "add-failed")
            .await
            .unwrap_or_default();
        let AddFailure {
            code,
            message,
            denied_by,
        } = why;
        let why = policy_engine::AddFailure {
            code,
            message,
            denied_by: denied_by.map(|(policy, hook)| (policy, hook.to_owned())),
        };
        let report = self.session.add_failed(&plan, why).await;
        self.report(&report);
    }

    fn succeed(&mut self) {
        self.session.succeed();
    }
}
