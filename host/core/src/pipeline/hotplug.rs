//! Hot-plug: handles one attachment of a running pod for a hot-plug controller. It is recorded with
//! the pod's others, so that the pod's DEL undoes what was not unplugged.

use std::path::Path;
use std::sync::Arc;

use cni_types::args::{Command, IfName};
use cni_types::result::CniResult;

use super::check::in_turn;
use super::dirs::Dirs;
use super::limits::{Limits, after, turn_by, within};
use super::rollback::{Guard, roll_back};
use super::turns::Work;
use super::{Error, Pipeline, add, deferred, events, pod_netns, retries, undo, undone, warnings};
use crate::domain::attachment::{Attachment, Plan};
use crate::domain::entry::{Entry, FailedAdd};
use crate::domain::sandbox::Sandbox;
use crate::spans::{attachment as of_attachment, stage};
use crate::stages::hotplug::Hotplug;
use crate::stages::request::PodRequest;
use crate::stages::{checks, identity, resolve, self_delegation};

/// Handles a request. Returns the result of an ADD, `None` for the other verbs.
pub(super) async fn hotplug(
    pipeline: &Arc<Pipeline>,
    request: Hotplug,
) -> Result<Option<CniResult>, Error> {
    let patience = pipeline.timeouts.stop();
    let (deadline, late) = (after(patience), Error::Continues(patience));
    let pipeline = Arc::clone(pipeline);
    match request {
        Hotplug::Status { conf, network } => {
            let asked = async move {
                pipeline
                    .ports
                    .delegates
                    .status(&conf.bin_dirs, &network)
                    .await?;
                Ok(None)
            };
            within(deadline, late, asked).await
        }
        Hotplug::Attachment {
            request,
            attachment,
        } => match request.command {
            Command::Add => plug(&pipeline, &request, *attachment).await.map(Some),
            Command::Check => {
                let checks = check(&pipeline, &request, &attachment);
                let checked = in_turn(&pipeline, &request, checks).await;
                checked.map(|()| None)
            }
            _ => {
                let container = &request.container_id;
                let turn = pipeline.turns.take(container, Work::HotUnplug);
                let held = turn_by(&pipeline, deadline, patience, container, turn);
                let held = stage("turn", held).await?;
                let unplugged = async move {
                    let (dirs, container) = (Dirs::of(&request.conf), &request.container_id);
                    let _turn = deferred::settled(&pipeline, &dirs, container, held).await?;
                    unplug(&pipeline, &request, &attachment).await?;
                    Ok(None)
                };
                within(deadline, late, unplugged).await
            }
        },
    }
}

async fn plug(
    pipeline: &Arc<Pipeline>,
    request: &PodRequest,
    attachment: Attachment,
) -> Result<CniResult, Error> {
    let dirs = Dirs::of(&request.conf);
    let container = &request.container_id;
    let ticket = pipeline
        .turns
        .ticket(container, Work::HotPlug, &request.if_name);
    let mut limits = Limits::new(&ticket, pipeline.timeouts.request);
    let held = stage("turn", limits.turn(pipeline, ticket)).await?;
    let settled = deferred::settled(pipeline, &dirs, container, held);
    let turn = limits.apply(settled).await?;
    let prepared = prepare(pipeline, &dirs, request, attachment);
    let prepared = stage("prepare", limits.apply(prepared));
    let (plan, mut policies, recorded) = prepared.await?;
    let Some(attachment) = plan.attachments.first() else {
        return Err(Error::NotAttached(request.container_id.clone()));
    };
    let mut entry = Entry::new(attachment, &plan.sandbox)?;
    entry.added_at = Some(retries::seconds());
    // Until there is a result: a daemon that finds this undoes it.
    let unfinished = Entry {
        failed_add: Some(FailedAdd::unfinished()),
        ..entry.clone()
    };
    let all: Vec<Entry> = recorded.iter().chain([&unfinished]).cloned().collect();
    let guard = Guard::new(
        pipeline,
        &dirs,
        &request.container_id,
        std::slice::from_ref(&entry),
    );
    // An undo of an earlier attachment of this interface must not find the new one.
    let if_names = std::slice::from_ref(&entry.if_name);
    let retries = &pipeline.retries;
    retries.forsake(pipeline, &dirs, container, if_names).await;
    let recording = pipeline.ports.ledger.record(&dirs.cni, &all);
    if let Err(error) = stage("ledger", recording).await {
        guard.disarm();
        return Err(error.into());
    }
    undone::attached(pipeline, &dirs, &request.container_id).await;
    pipeline.traces.insert(&dirs.cni, &request.container_id);
    let mut executed = true;
    let added = async {
        limits
            .apply(async {
                pipeline.collections.wait(&entry).await;
                Ok(())
            })
            .await?;
        let added =
            limits.delegate(|wanted| pipeline.ports.delegates.add(&dirs.bin, &entry, wanted));
        let subject = (entry.network.as_str(), entry.if_name.as_str());
        let added = of_attachment("attach", subject, added).await;
        let result = match added {
            Ok(result) => result,
            Err(error) => {
                if let Error::Delegate(failed) = &error {
                    executed = failed.executed;
                    entry.failed_add = failed.failed_at.clone();
                }
                return Err(error);
            }
        };
        entry.result = Some(result.clone());
        let ledger = &pipeline.ports.ledger;
        ledger.record_result(&dirs.cni, &entry).await?;
        let all: Vec<Entry> = recorded.iter().chain([&entry]).cloned().collect();
        ledger.record(&dirs.cni, &all).await?;
        events::interface_added(pipeline, &entry);
        limits
            .apply(async {
                let outcome = policies.after_add(attachment, result);
                let outcome = stage("after-add", outcome).await?;
                policies.validate_plugged(attachment, &outcome).await?;
                if !outcome.tags.is_empty() {
                    entry.tags.clone_from(&outcome.tags);
                    let ledger = &pipeline.ports.ledger;
                    ledger.record_result(&dirs.cni, &entry).await?;
                }
                Ok(outcome)
            })
            .await
    }
    .await;
    let cause = match added {
        Ok(outcome) => {
            guard.disarm();
            policies.succeed();
            return Ok(outcome.result);
        }
        Err(cause) => cause,
    };
    events::delegate_failed(pipeline, &entry.pod, &cause);
    let (pipeline, why) = (Arc::clone(pipeline), add::failure(&cause));
    let undo = async move {
        let meant: Vec<Entry> = executed.then_some(entry).into_iter().collect();
        let undone = undo::entries_of(&pipeline, &dirs, &plan.sandbox, &meant, recorded);
        let undone = stage("undo", undone).await;
        policies.add_failed(&plan.attachments, why).await;
        undone
    };
    Err(roll_back(cause, &limits, (guard, turn), undo).await)
}

/// Everything before the first side effect: the attachment after the policies, as a plan of one,
/// and the pod's recorded entries.
async fn prepare(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    attachment: Attachment,
) -> Result<(Plan, Box<dyn crate::ports::PolicySession>, Vec<Entry>), Error> {
    let mut recorded = recorded(pipeline, request).await?;
    refuse_other_namespace(pipeline, dirs, request, &recorded).await?;
    let patience = pipeline.timeouts.pod;
    let (mut sandbox, pod) =
        identity::identify_attached(request, &recorded, &*pipeline.ports.cluster, patience).await?;
    // For GC, it belongs where the pod belongs.
    sandbox.runtime_network = recorded.iter().find_map(|one| one.runtime_network.clone());
    let mut policies = pipeline
        .ports
        .policies
        .begin(Command::Add, &sandbox, Some(&pod));
    policies.plan(std::slice::from_ref(&attachment)).await?;
    let network = attachment.network.clone();
    let Some(attachment) = policies.before_add(attachment).await? else {
        return Err(Error::Skipped(network));
    };
    policies.settle(std::slice::from_ref(&attachment)).await?;
    self_delegation::refuse(std::slice::from_ref(&attachment), &request.conf)?;
    let attachment = resolve::with_device_info(attachment, &sandbox, &*pipeline.ports.device_info);
    recorded = without_leftover(pipeline, dirs, request, recorded, &attachment.if_name).await?;
    if let Some(taken) = of_interface(&recorded, &attachment.if_name) {
        return Err(Error::InterfaceExists {
            interface: attachment.if_name.to_string(),
            network: attachment.network,
            netns: taken.netns.clone().unwrap_or_default(),
        });
    }
    let plan = Plan {
        sandbox,
        attachments: vec![attachment],
    };
    checks::check_names(&plan)?;
    let mut plan = plan;
    plan.sandbox.namespace = add::refuse_if_taken(pipeline, request, &plan).await?;
    warnings::untaken_requests(pipeline, &plan.sandbox.pod, &plan.attachments);
    Ok((plan, policies, recorded))
}

/// Checks the attachment. The caller holds the container's turn.
async fn check(
    pipeline: &Arc<Pipeline>,
    request: &PodRequest,
    attachment: &Attachment,
) -> Result<(), Error> {
    let dirs = Dirs::of(&request.conf);
    let recorded = recorded(pipeline, request).await?;
    refuse_other_namespace(pipeline, &dirs, request, &recorded).await?;
    let entry = match of_interface(&recorded, &request.if_name) {
        Some(entry)
            if undo::is_leftover(pipeline, &dirs, entry) || is_of_another(entry, attachment) =>
        {
            return Err(Error::NotAttached(request.container_id.clone()));
        }
        Some(entry) => entry.clone(),
        None => unrecorded(pipeline, request, attachment).await?,
    };
    pipeline.ports.delegates.check(&dirs.bin, &entry).await?;
    let sandbox = request.sandbox().with_pod_of(std::slice::from_ref(&entry));
    let mut policies = pipeline
        .ports
        .policies
        .begin(Command::Check, &sandbox, None);
    Ok(policies.check(&entry).await?)
}

/// Detaches the attachment. An interface that another network has since is left alone: the unplug
/// may be late or repeated. The caller holds the container's turn.
async fn unplug(
    pipeline: &Arc<Pipeline>,
    request: &PodRequest,
    attachment: &Attachment,
) -> Result<(), Error> {
    let dirs = Dirs::of(&request.conf);
    let mut recorded = recorded(pipeline, request).await?;
    let nothing = || {
        tracing::info!(
            container = %request.container_id,
            interface = %request.if_name,
            network = %attachment.conf.name(),
            "hot-unplug of a network that is not attached to the interface; nothing to undo"
        );
        Ok(())
    };
    let position = recorded
        .iter()
        .position(|entry| entry.if_name == request.if_name);
    let entry = match position {
        Some(position) => recorded.remove(position),
        None => {
            let entry = unrecorded(pipeline, request, attachment).await?;
            // The ledger has the pod's attachments, but not this one.
            if !recorded.is_empty() && entry.result.is_none() {
                return nothing();
            }
            let ledger = &pipeline.ports.ledger;
            let results = ledger.results(&dirs.cni, &request.sandbox()).await?;
            let of_interface = of_interface(&results, &request.if_name);
            if entry.result.is_none()
                && of_interface.is_some_and(|result| is_of_another(result, attachment))
            {
                return nothing();
            }
            return undo::unrecorded(pipeline, &dirs, &request.sandbox(), &entry).await;
        }
    };
    if is_of_another(&entry, attachment) {
        return nothing();
    }
    let meant = std::slice::from_ref(&entry);
    undo::entries_of(pipeline, &dirs, &request.sandbox(), meant, recorded).await
}

/// Whether an entry with the interface of a request is of another network. An attachment is known by
/// its network's name, its container and its interface together.
fn is_of_another(entry: &Entry, attachment: &Attachment) -> bool {
    entry.conf.name() != attachment.conf.name()
}

/// Rejects a namespace that is not the container's: it differs from the recorded one or, if none is
/// recorded, belongs to another container.
async fn refuse_other_namespace(
    pipeline: &Pipeline,
    dirs: &Dirs,
    request: &PodRequest,
    recorded: &[Entry],
) -> Result<(), Error> {
    let Some(netns) = request.netns.as_deref().filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let container = &request.container_id;
    let found = pipeline
        .ports
        .pod_network
        .look(Path::new(netns), &[])
        .await?;
    let refused = |owner: String| Error::OtherNamespace {
        container: container.clone(),
        netns: netns.to_owned(),
        owner,
    };
    let mut own = recorded.iter().filter_map(|entry| entry.namespace.as_ref());
    if own.clone().next().is_none() {
        let owner = pod_netns::owner(pipeline, dirs, container, &found.namespace).await;
        let refused = owner.map(|owner| refused(format!("it is that of container {owner}")));
        return refused.map_or(Ok(()), Err);
    }
    if own.any(|namespace| namespace.is(&found.namespace)) {
        return Ok(());
    }
    Err(refused("it was attached in another one".to_owned()))
}

/// The recorded entries, after undoing what an earlier attempt left of the interface.
async fn without_leftover(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    request: &PodRequest,
    recorded: Vec<Entry>,
    if_name: &IfName,
) -> Result<Vec<Entry>, Error> {
    let Some(left) = of_interface(&recorded, if_name).cloned() else {
        return Ok(recorded);
    };
    if !undo::is_leftover(pipeline, dirs, &left) && !is_absent(pipeline, &left).await {
        return Ok(recorded);
    }
    tracing::info!(
        container = %request.container_id,
        interface = %if_name,
        "undoing the rest of an earlier hot-plug of the interface, before this one"
    );
    let mut staying = recorded;
    staying.retain(|entry| entry.if_name != *if_name);
    let meant = std::slice::from_ref(&left);
    undo::entries_of(pipeline, dirs, &request.sandbox(), meant, staying).await?;
    self::recorded(pipeline, request).await
}

/// Whether an attachment that may never have been made has no interface in the pod.
async fn is_absent(pipeline: &Pipeline, entry: &Entry) -> bool {
    let (true, Some(netns)) = (entry.is_doubtful(), entry.netns.as_deref()) else {
        return false;
    };
    let exists = pod_netns::interface_exists(pipeline, netns, &entry.if_name).await;
    exists.is_ok_and(|exists| !exists)
}

/// The sandbox's recorded entries. Those without an identified namespace take the request's path;
/// the others keep their own, since the request may name another path.
async fn recorded(pipeline: &Pipeline, request: &PodRequest) -> Result<Vec<Entry>, Error> {
    let (named, dirs) = (request.sandbox(), Dirs::of(&request.conf));
    let sandbox = Sandbox {
        if_name: Sandbox::recorded(request.container_id.clone()).if_name,
        netns: None,
        ..named
    };
    let loaded = pipeline
        .ports
        .ledger
        .load(&request.conf.cni_dir, &sandbox)
        .await;
    let mut entries = loaded?.unwrap_or_default();
    for entry in &mut entries {
        if entry.namespace.is_none() || entry.netns.is_none() {
            entry.netns = request.netns.clone().or(entry.netns.take());
        }
        if pod_netns::outlives_its_age(pipeline, &dirs, entry).await {
            entry.namespace = None;
        }
    }
    Ok(entries)
}

fn of_interface<'a>(recorded: &'a [Entry], if_name: &IfName) -> Option<&'a Entry> {
    recorded.iter().find(|entry| entry.if_name == *if_name)
}

/// An attachment that is in no plan, such as one made by Multus, built from the request and the
/// result cache.
async fn unrecorded(
    pipeline: &Pipeline,
    request: &PodRequest,
    attachment: &Attachment,
) -> Result<Entry, Error> {
    let plan = Plan {
        sandbox: request.sandbox(),
        attachments: vec![attachment.clone()],
    };
    checks::check_names(&plan)?;
    let mut entry = Entry::new(attachment, &plan.sandbox)?;
    pipeline
        .ports
        .ledger
        .recall(&request.conf.cni_dir, &mut entry)
        .await?;
    Ok(entry)
}
