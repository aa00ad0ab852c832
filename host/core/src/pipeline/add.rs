//! ADD: attaches a pod to all its networks or to none.

use std::path::Path;
use std::sync::Arc;

use cni_types::args::{Command, IfName};
use cni_types::result::CniResult;

use super::dirs::Dirs;
use super::execution::Execution;
use super::gc::GUESSED;
use super::limits::Limits;
use super::rollback::{Guard, roll_back};
use super::turns::Work;
use super::{Error, Pipeline, clearing, events, undo, undone, warnings};
use crate::conf::net_conf::NetConf;
use crate::domain::attachment::{Plan, interface_at};
use crate::domain::namespace::Namespace;
use crate::domain::networks::Networks;
use crate::domain::pod::Pod;
use crate::domain::sandbox::Sandbox;
use crate::ports::{AddFailure, Inside, PolicySession};
use crate::spans::stage;
use crate::stages::request::PodRequest;
use crate::stages::{checks, identity, readiness, resolve, self_delegation};

/// Returns the result of the default network.
pub(super) async fn add(pipeline: &Arc<Pipeline>, request: PodRequest) -> Result<CniResult, Error> {
    let request = Arc::new(request);
    let ticket = pipeline
        .turns
        .ticket(&request.container_id, Work::Add, &request.if_name);
    let mut limits = Limits::new(&ticket, pipeline.timeouts.request);
    let dirs = Dirs::of(&request.conf);
    let turn = clearing::turn(pipeline, &dirs, &request, ticket, &mut limits);
    let turn = stage("turn", turn).await?;
    let mut if_names = Vec::new();
    // Boxed, like the undo below, to keep the moved futures small.
    let prepared = Box::pin(prepare(pipeline, &request, &mut if_names));
    let (plan, mut policies) = match limits.apply(prepared).await {
        Ok(prepared) => prepared,
        Err(error) => {
            note_unmade(pipeline, &dirs, &request, if_names).await;
            return Err(error);
        }
    };
    let mut execution = Execution::new(pipeline, &request, &plan)?;
    let guard = Guard::new(pipeline, &dirs, &request.container_id, execution.entries());
    let recording = pipeline.ports.ledger.record(&dirs.cni, execution.entries());
    if let Err(error) = stage("ledger", recording).await {
        guard.disarm();
        return Err(error.into());
    }
    undone::attached(pipeline, &dirs, &request.container_id).await;
    pipeline.traces.insert(&dirs.cni, &request.container_id);
    match execution.run(&plan, &mut *policies, &mut limits).await {
        Ok(result) => {
            guard.disarm();
            policies.succeed();
            Ok(result)
        }
        Err(cause) => {
            events::delegate_failed(pipeline, &plan.sandbox.pod, &cause);
            let (pipeline, sandbox) = (Arc::clone(pipeline), plan.sandbox);
            let begun = execution.into_begun();
            let (attachments, why) = (plan.attachments, failure(&cause));
            let undo = async move {
                let undone = undo::entries_of(&pipeline, &dirs, &sandbox, &begun, Vec::new());
                let undone = stage("undo", undone).await;
                policies.add_failed(&attachments, why).await;
                undone
            };
            Err(roll_back(cause, &limits, (guard, turn), undo).await)
        }
    }
}

/// Notes that a failed ADD made nothing, which spares its DEL the search in the cluster. Results of
/// an earlier use of the id must still be undone. So must an interface that is there although
/// nothing records it: the records of the container itself may be lost. `if_names` are those of the
/// pod's networks, as far as the ADD got to know them. Delegates do not enter the namespace if it is
/// recorded as another container's.
async fn note_unmade(
    pipeline: &Pipeline,
    dirs: &Dirs,
    request: &PodRequest,
    mut if_names: Vec<IfName>,
) {
    let ports = &pipeline.ports;
    let results = ports.ledger.results(&dirs.cni, &request.sandbox()).await;
    if_names.push(request.if_name.clone());
    // Networks that were not resolved have these names unless they ask for others.
    if_names.extend((1..=GUESSED).map(interface_at));
    let is_there = match request.netns.as_deref() {
        Some(netns) => ports
            .pod_network
            .look(Path::new(netns), &if_names)
            .await
            .is_ok_and(|inside| !inside.existing.is_empty()),
        None => false,
    };
    if !is_there && results.is_ok_and(|results| results.is_empty()) {
        let (container, if_name) = (&request.container_id, &request.if_name);
        pipeline.undone.insert_one(&dirs.cni, container, if_name);
    }
}

/// Everything before the first side effect: the plan after the policies. Adds the interfaces of the
/// pod's networks to `if_names`, also if it fails.
async fn prepare(
    pipeline: &Pipeline,
    request: &PodRequest,
    if_names: &mut Vec<IfName>,
) -> Result<(Plan, Box<dyn PolicySession>), Error> {
    let files = &*pipeline.ports.node_files;
    let indicator = readiness::await_indicator(&request.conf, files, pipeline.timeouts.readiness);
    stage("readiness", indicator).await?;
    let (cluster, patience) = (&*pipeline.ports.cluster, pipeline.timeouts.pod);
    let (sandbox, pod) = stage("identity", identity::identify(request, cluster, patience)).await?;
    warnings::misspellings(pipeline, &pod);
    let mut policies = pipeline
        .ports
        .policies
        .begin(Command::Add, &sandbox, Some(&pod));
    let planned = planned(pipeline, request, (sandbox, &pod), &mut *policies, if_names);
    match planned.await {
        Ok(plan) => Ok((plan, policies)),
        Err(error) => {
            if let Ok(networks) = resolve::networks(&request.conf, &pod, &pipeline.limits) {
                if_names.extend(
                    networks
                        .selections()
                        .filter_map(|one| one.interface.clone()),
                );
            }
            policies.add_failed(&[], failure(&error)).await;
            Err(error)
        }
    }
}

/// The plan after the policies, checked.
async fn planned(
    pipeline: &Pipeline,
    request: &PodRequest,
    (sandbox, pod): (Sandbox, &Pod),
    policies: &mut dyn PolicySession,
    if_names: &mut Vec<IfName>,
) -> Result<Plan, Error> {
    let conf = &request.conf;
    let networks = stage("select", select(pipeline, conf, pod, policies)).await?;
    let plan = plan(pipeline, conf, sandbox, pod, networks, policies).await;
    let mut plan = plan.inspect_err(|error| {
        if let Error::Resolve(error) = error {
            events::network_missing(pipeline, &pod.reference(), error);
        }
    })?;
    if_names.extend(plan.attachments.iter().map(|one| one.if_name.clone()));
    let namespace = refuse_if_taken(pipeline, request, &plan);
    plan.sandbox.namespace = stage("namespace", namespace).await?;
    warnings::untaken_requests(pipeline, &plan.sandbox.pod, &plan.attachments);
    Ok(plan)
}

/// Why an ADD failed, for the policies.
pub(super) fn failure(error: &Error) -> AddFailure {
    let message = crate::report::chain(error);
    match error {
        Error::Denied(denial) => AddFailure {
            code: Some(denial.code),
            message,
            denied_by: Some((denial.policy.clone(), denial.hook)),
        },
        Error::Delegate(failed) => AddFailure {
            code: Some(failed.error.code),
            message,
            denied_by: None,
        },
        Error::NotUndone { cause, .. } => failure(cause),
        _ => AddFailure {
            code: None,
            message,
            denied_by: None,
        },
    }
}

/// The networks that node and pod ask for, after the policies.
pub(super) async fn select(
    pipeline: &Pipeline,
    conf: &NetConf,
    pod: &Pod,
    policies: &mut dyn PolicySession,
) -> Result<Networks, Error> {
    let networks = resolve::networks(conf, pod, &pipeline.limits)?;
    let networks = policies.select(networks).await?;
    checks::check_isolation(pod, networks.selections(), conf)?;
    Ok(networks)
}

/// The plan of a pod with these networks, after the policies. Changes nothing.
pub(super) async fn plan(
    pipeline: &Pipeline,
    conf: &NetConf,
    sandbox: Sandbox,
    pod: &Pod,
    networks: Networks,
    policies: &mut dyn PolicySession,
) -> Result<Plan, Error> {
    let plan = resolve::resolve(conf, sandbox, pod, networks, pipeline.lookups());
    let plan = stage("resolve", plan).await?;
    let plan = stage("before-add", before_add(plan, policies)).await?;
    self_delegation::refuse(&plan.attachments, conf)?;
    Ok(plan)
}

/// Rejects an ADD whose interface already exists: undoing the ADD would remove an interface that it
/// did not make. Returns the namespace.
pub(super) async fn refuse_if_taken(
    pipeline: &Pipeline,
    request: &PodRequest,
    plan: &Plan,
) -> Result<Option<Namespace>, Error> {
    let Some(netns) = request.netns.as_deref() else {
        return Ok(None);
    };
    let names: Vec<IfName> = plan
        .attachments
        .iter()
        .map(|one| one.if_name.clone())
        .collect();
    let Inside {
        namespace,
        existing,
    } = pipeline
        .ports
        .pod_network
        .look(Path::new(netns), &names)
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
        None => Ok(Some(namespace)),
    }
}

/// Runs every before-add hook on every attachment, before anything is recorded or executed.
async fn before_add(plan: Plan, policies: &mut dyn PolicySession) -> Result<Plan, Error> {
    let mut attachments = Vec::with_capacity(plan.attachments.len());
    policies.plan(&plan.attachments).await?;
    for attachment in plan.attachments {
        attachments.extend(policies.before_add(attachment).await?);
        // Showing a conf to policies takes a while; other requests go on between two.
        tokio::task::yield_now().await;
    }
    let plan = Plan {
        attachments,
        ..plan
    };
    policies.settle(&plan.attachments).await?;
    checks::check_interfaces(&plan)?;
    Ok(plan)
}
