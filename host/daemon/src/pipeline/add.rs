//! ADD: a pod gets its networks, all of them or none.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use cni_types::args::{Command, IfName};
use cni_types::result::CniResult;
use tokio::sync::watch;
use tokio::time::Instant;

use super::addition::Addition;
use super::turns::{Superseded, Ticket, Turn};
use super::{Error, Pipeline, deferred};
use crate::config::net_conf::NetConf;
use crate::domain::announcement;
use crate::domain::attachment::Plan;
use crate::domain::entry::Entry;
use crate::domain::pod::PodRef;
use crate::ports::{ClusterError, DelegateError, Event, EventKind, GiveUp, PolicySession, Wanted};
use crate::stages::request::PodRequest;
use crate::stages::{identity, network_lookup, readiness, resolve, self_delegation};

/// How long a delegate whose ADD is given up may take to end by itself. Killed at once, it could
/// leave what no DEL finds: host-local, which nearly all plugins call, makes the file of an address
/// first and writes whose it is afterwards, and never frees an empty one.
const GRACE: Duration = Duration::from_secs(5);

/// Gives the result of the default network.
pub(super) async fn add(pipeline: &Pipeline, request: PodRequest) -> Result<CniResult, Error> {
    let patience = pipeline.timeouts.request();
    let ticket = pipeline.turns.ticket(&request.container_id);
    let mut limits = Limits::new(&ticket, patience);
    let _turn = limits.turn(ticket).await?;
    let NetConf {
        cni_dir, bin_dirs, ..
    } = &*request.conf;
    deferred::carry_out(pipeline, cni_dir, bin_dirs, &request.container_id).await?;
    // Boxed, as the undo below, so that what is moved to and fro is small.
    let prepared = Box::pin(prepare(pipeline, &request));
    let (plan, mut policies) = limits.apply(prepared).await?;
    let mut addition = Addition::new(pipeline, &request, &plan)?;
    pipeline
        .ledger
        .record(&request.conf.cni_dir, addition.entries())
        .await?;
    match addition.run(&plan, &mut *policies, &mut limits).await {
        Ok(result) => Ok(result),
        Err(cause) => {
            announce_failure(pipeline, &plan.sandbox.pod, &cause);
            Err(Box::pin(addition.undo(cause)).await)
        }
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

    /// Runs a delegate. One that is not wanted any more may end by itself.
    pub(super) async fn delegate<T, W>(&mut self, run: impl FnOnce(Wanted) -> W) -> Result<T, Error>
    where
        W: Future<Output = Result<T, DelegateError>>,
    {
        let (give_up, wanted) = Wanted::channel();
        let mut work = pin!(run(wanted));
        let ended = self.apply(async { Ok((&mut work).await?) }).await;
        if ended.as_ref().is_err_and(is_given_up) {
            let_end(&give_up, work).await;
        }
        ended
    }
}

/// Whether an ADD has failed because it was given up, and not by itself.
pub(super) fn is_given_up(error: &Error) -> bool {
    matches!(error, Error::Superseded | Error::Deadline(_))
}

/// Lets delegates that run end by themselves, within [`GRACE`]; then they are to be dropped, which
/// kills them.
pub(super) async fn let_end(give_up: &GiveUp, delegates: impl Future) {
    give_up.now();
    if tokio::time::timeout(GRACE, delegates).await.is_err() {
        tracing::warn!("a delegate that is not wanted any more does not end: killed");
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
    let plan = resolve::resolve(&request.conf, sandbox, &pod, selections, pipeline.lookups())
        .await
        .inspect_err(|error| announce_missing(pipeline, &pod.reference(), error))?;
    let plan = before_add(plan, &mut *policies).await?;
    self_delegation::refuse(&plan.attachments, &request.conf)?;
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
    policies.settle(&plan.attachments).await?;
    resolve::check_interfaces(&plan)?;
    Ok(plan)
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

/// Tells the pod's owner which network could not be had, as its delegate said it. The runtime tries
/// again with another container, so that none is named: the same failure is the same Event.
pub(super) fn announce_failure(pipeline: &Pipeline, pod: &PodRef, cause: &Error) {
    let Error::Delegate(error) = cause else {
        return;
    };
    let event = Event {
        kind: EventKind::Warning,
        reason: "DelegateFailed",
        message: crate::report::chain(error),
    };
    pipeline.cluster.event(pod, event);
}

/// Tells the pod's owner, in Multus' words.
pub(super) fn announce(pipeline: &Pipeline, entry: &Entry) {
    let Some(message) = announcement::of_attachment(entry) else {
        return;
    };
    let event = Event {
        kind: EventKind::Normal,
        reason: "AddedInterface",
        message,
    };
    pipeline.cluster.event(&entry.pod, event);
}
