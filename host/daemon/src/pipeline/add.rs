//! ADD: a pod gets its networks, all of them or none.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use cni_types::args::{Command, IfName};
use cni_types::result::CniResult;
use tokio::sync::watch;
use tokio::time::Instant;

use super::turns::{Superseded, Ticket, Turn};
use super::{Error, Pipeline};
use crate::domain::attachment::{Attachment, Plan};
use crate::domain::default_route::{self, Claims};
use crate::domain::entry::Entry;
use crate::domain::network_status::{self, NetworkStatus};
use crate::domain::pod::PodRef;
use crate::ports::{ClusterError, Event, EventKind, Outcome, PolicySession};
use crate::stages::request::PodRequest;
use crate::stages::{identity, network_lookup, readiness, resolve};

/// Gives the result of the default network.
pub(super) async fn add(pipeline: &Pipeline, request: PodRequest) -> Result<CniResult, Error> {
    let patience = pipeline.timeouts.request();
    let ticket = pipeline.turns.ticket(&request.container_id);
    let mut limits = Limits::new(&ticket, patience);
    let _turn = limits.turn(ticket).await?;
    let (plan, mut policies) = limits.apply(prepare(pipeline, &request)).await?;
    let mut addition = Addition::new(pipeline, &request, &plan)?;
    pipeline
        .ledger
        .record(&request.conf.cni_dir, &addition.entries)
        .await?;
    match limits.apply(addition.run(&plan, &mut *policies)).await {
        Ok(result) => Ok(result),
        Err(cause) => Err(addition.undo(cause).await),
    }
}

/// What ends an ADD early.
pub(super) struct Limits {
    deletions: watch::Receiver<u64>,
    deadline: Instant,
    patience: Duration,
}

impl Limits {
    pub(super) fn new(ticket: &Ticket, patience: Duration) -> Self {
        Self {
            deletions: ticket.deletions(),
            deadline: Instant::now() + patience,
            patience,
        }
    }

    /// Waits for the turn of the ticket.
    pub(super) async fn turn(&mut self, ticket: Ticket) -> Result<Turn, Error> {
        self.apply(async { ticket.wait().await.map_err(|_| Error::Superseded) })
            .await
    }

    pub(super) async fn apply<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let work = tokio::time::timeout_at(self.deadline, work);
        match Ticket::unless_superseded(&mut self.deletions, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Error::Deadline(self.patience)),
            Err(Superseded) => Err(Error::Superseded),
        }
    }
}

/// Everything before the first trace: the plan, as the policies leave it.
async fn prepare(
    pipeline: &Pipeline,
    request: &PodRequest,
) -> Result<(Plan, Box<dyn PolicySession>), Error> {
    refuse_if_attached(pipeline, request).await?;
    readiness::await_indicator(&request.conf, pipeline.timeouts.readiness()).await?;
    let (sandbox, pod) =
        identity::identify(request, &*pipeline.cluster, pipeline.timeouts.pod()).await?;
    let mut policies = pipeline.policies.begin(Command::Add, &sandbox, Some(&pod));
    let selections = policies.select(resolve::selections(&pod)?).await?;
    resolve::check_isolation(&pod, &selections, &request.conf)?;
    let plan = resolve::resolve(&request.conf, sandbox, &pod, selections, &*pipeline.cluster)
        .await
        .inspect_err(|error| announce_missing(pipeline, &pod.reference(), error))?;
    let plan = before_add(plan, &mut *policies).await?;
    refuse_if_taken(pipeline, request, &plan).await?;
    Ok((plan, policies))
}

/// A second ADD must fail and harm nothing: what the first one made is in use.
async fn refuse_if_attached(pipeline: &Pipeline, request: &PodRequest) -> Result<(), Error> {
    match pipeline
        .ledger
        .load(&request.conf.cni_dir, &request.sandbox())
        .await?
    {
        Some(_) => Err(Error::Attached(request.container_id.clone())),
        None => Ok(()),
    }
}

/// What is in the pod already is somebody else's, and undoing this ADD would take it away.
pub(super) async fn refuse_if_taken(
    pipeline: &Pipeline,
    request: &PodRequest,
    plan: &Plan,
) -> Result<(), Error> {
    let Some(netns) = request.netns.as_deref() else {
        return Ok(());
    };
    let names: Vec<IfName> = plan
        .attachments
        .iter()
        .map(|one| one.if_name.clone())
        .collect();
    let existing = pipeline
        .pod_network
        .existing(Path::new(netns), &names)
        .await?;
    match plan
        .attachments
        .iter()
        .find(|one| existing.contains(&one.if_name))
    {
        Some(taken) => Err(Error::InterfaceExists {
            interface: taken.if_name.to_string(),
            network: taken.network.clone(),
            netns: netns.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Every policy has seen every attachment before anything is recorded or executed.
async fn before_add(plan: Plan, policies: &mut dyn PolicySession) -> Result<Plan, Error> {
    let mut attachments = Vec::with_capacity(plan.attachments.len());
    for attachment in plan.attachments {
        attachments.push(policies.before_add(attachment).await?);
    }
    let plan = Plan {
        attachments,
        ..plan
    };
    resolve::check_interfaces(&plan)?;
    Ok(plan)
}

/// An ADD from its first delegate on: what it knows of itself is what undoing it needs.
struct Addition<'a> {
    pipeline: &'a Pipeline,
    request: &'a PodRequest,
    claims: Claims,
    /// What is recorded, with the results of the delegates.
    entries: Vec<Entry>,
    /// What is answered and shown: the results after the policies.
    answers: Vec<Outcome>,
    /// How many attachments, from the first one, may have left something.
    begun: usize,
}

impl<'a> Addition<'a> {
    fn new(pipeline: &'a Pipeline, request: &'a PodRequest, plan: &Plan) -> Result<Self, Error> {
        let claims = Claims::of(&plan.attachments).map_err(|source| Error::DefaultRoute {
            pod: plan.sandbox.pod.clone(),
            source,
        })?;
        let entries = plan
            .attachments
            .iter()
            .map(|attachment| Entry::new(attachment, &plan.sandbox))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            pipeline,
            request,
            claims,
            entries,
            answers: Vec::new(),
            begun: 0,
        })
    }

    async fn run(
        &mut self,
        plan: &Plan,
        policies: &mut dyn PolicySession,
    ) -> Result<CniResult, Error> {
        for (position, attachment) in plan.attachments.iter().enumerate() {
            self.attach(position, attachment, policies).await?;
            self.set_default_routes(position).await?;
        }
        let result = self.finalize(plan, policies).await?;
        self.record_results().await?;
        self.publish(&plan.sandbox.pod).await?;
        Ok(result)
    }

    async fn attach(
        &mut self,
        position: usize,
        attachment: &Attachment,
        policies: &mut dyn PolicySession,
    ) -> Result<(), Error> {
        let conf = &self.request.conf;
        let Some(entry) = self.entries.get_mut(position) else {
            return Ok(());
        };
        self.begun = position + 1;
        let added = self.pipeline.delegates.add(&conf.bin_dirs, entry).await;
        let result = added.inspect_err(|error| {
            if !error.executed {
                self.begun = position;
            }
        })?;
        // CHECK and DEL need what the delegate answered, not what a policy made of it.
        entry.result = Some(result.clone());
        self.pipeline
            .ledger
            .record_result(&conf.cni_dir, entry)
            .await?;
        announce(self.pipeline, entry);
        self.answers
            .push(policies.after_add(attachment, result).await?);
        Ok(())
    }

    async fn set_default_routes(&mut self, position: usize) -> Result<(), Error> {
        let Some(result) = self
            .entries
            .get(position)
            .and_then(|entry| entry.result.as_ref())
        else {
            return Ok(());
        };
        for change in self.claims.after(position, result) {
            let (Some(netns), Some(entry)) = (
                self.request.netns.as_deref(),
                self.entries.get(change.position),
            ) else {
                continue;
            };
            let pod_network = &self.pipeline.pod_network;
            pod_network
                .set_default_route(Path::new(netns), &entry.if_name, change.gateway)
                .await?;
            let recorded = self.entries.iter_mut().map(|entry| entry.result.as_mut());
            let recorded = recorded
                .enumerate()
                .filter_map(|(i, result)| Some((i, result?)));
            default_route::apply(change, recorded);
            let answers = self.answers.iter_mut().map(|answer| &mut answer.result);
            default_route::apply(change, answers.enumerate());
        }
        Ok(())
    }

    async fn finalize(
        &mut self,
        plan: &Plan,
        policies: &mut dyn PolicySession,
    ) -> Result<CniResult, Error> {
        let Some(first) = self.answers.first() else {
            return Err(Error::NotAttached(self.request.container_id.clone()));
        };
        let result = first.result.clone();
        let shown = self
            .answers
            .iter()
            .map(|answer| answer.result.clone())
            .collect();
        let finale = policies.finalize(&plan.attachments, result, shown).await?;
        for (answer, shown) in self.answers.iter_mut().zip(finale.shown) {
            answer.result = shown.result;
            answer.tags.extend(shown.tags);
        }
        if let Some(first) = self.answers.first_mut() {
            first.tags.extend(finale.outcome.tags);
        }
        Ok(finale.outcome.result)
    }

    /// Once more where default routes were moved after a result was written.
    async fn record_results(&self) -> Result<(), Error> {
        if self.claims.is_empty() {
            return Ok(());
        }
        for entry in &self.entries {
            self.pipeline
                .ledger
                .record_result(&self.request.conf.cni_dir, entry)
                .await?;
        }
        Ok(())
    }

    async fn publish(&self, pod: &PodRef) -> Result<(), Error> {
        if self.request.conf.system_namespaces.contains(&pod.namespace) {
            return Ok(());
        }
        let statuses: Vec<NetworkStatus> = self
            .entries
            .iter()
            .zip(&self.answers)
            .flat_map(|(entry, answer)| {
                network_status::of_attachment(entry, &answer.result, &answer.tags)
            })
            .collect();
        let status = serde_json::to_string(&statuses).expect("strings and numbers are JSON");
        self.pipeline
            .cluster
            .set_network_status(pod, &status)
            .await?;
        Ok(())
    }

    /// Takes back what this ADD made, and nothing else. Gives the error to answer.
    async fn undo(self, cause: Error) -> Error {
        let conf = &self.request.conf;
        let mut left = Vec::new();
        for entry in self.entries.iter().take(self.begun).rev() {
            if let Err(error) =
                super::del::detach(self.pipeline, &conf.cni_dir, &conf.bin_dirs, entry).await
            {
                left.push(error);
            }
        }
        if left.is_empty()
            && let Err(error) = self
                .pipeline
                .ledger
                .forget(&conf.cni_dir, &self.request.container_id)
                .await
        {
            left.push(error.into());
        }
        if left.is_empty() {
            return cause;
        }
        for error in &left {
            tracing::error!(container = %self.request.container_id, error = crate::report::chain(error), "not undone");
        }
        if let Some(error) = left.first() {
            let container = &self.request.container_id;
            self.pipeline
                .unfinished
                .add(self.pipeline, conf, container, error)
                .await;
        }
        Error::NotUndone {
            cause: Box::new(cause),
            left,
        }
    }
}

/// Tells the pod's owner that a network which it asks for is not there, in Multus' words.
fn announce_missing(pipeline: &Pipeline, pod: &PodRef, error: &resolve::Error) {
    let resolve::Error::Selected {
        source: network_lookup::Error::Cluster(ClusterError::NadNotFound { namespace, name }),
        ..
    } = error
    else {
        return;
    };
    let event = Event {
        kind: EventKind::Warning,
        reason: "NoNetworkFound",
        message: format!(
            "cannot find a network-attachment-definition ({name}) in namespace ({namespace}): networkattachmentdefinition.k8s.cni.cncf.io {name:?} not found"
        ),
    };
    pipeline.cluster.event(pod, event);
}

/// Tells the pod's owner, in Multus' words.
pub(super) fn announce(pipeline: &Pipeline, entry: &Entry) {
    let Some(result) = &entry.result else {
        return;
    };
    let ips: Vec<String> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
    let message = format!(
        "Add {} [{}] from {}",
        entry.if_name,
        ips.join(" "),
        entry.network
    );
    let event = Event {
        kind: EventKind::Normal,
        reason: "AddedInterface",
        message,
    };
    pipeline.cluster.event(&entry.pod, event);
}
