//! One attachment of a pod that runs already: what a hot-plug controller asks for. It is recorded
//! with the others, so that the pod's own DEL undoes what nobody unplugged.

use cni_types::args::{Command, IfName};
use cni_types::result::CniResult;

use super::add::{self, Limits};
use super::{Error, Pipeline, deferred, del};
use crate::domain::attachment::{Attachment, Plan};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::stages::hotplug::Hotplug;
use crate::stages::request::PodRequest;
use crate::stages::{identity, resolve};

/// Answers a request: the result of an ADD, nothing for the other verbs.
pub(super) async fn hotplug(
    pipeline: &Pipeline,
    request: Hotplug,
) -> Result<Option<CniResult>, Error> {
    match request {
        Hotplug::Status { conf, network } => {
            pipeline.delegates.status(&conf.bin_dirs, &network).await?;
            Ok(None)
        }
        Hotplug::Attachment {
            request,
            attachment,
        } => match request.command {
            Command::Add => plug(pipeline, &request, *attachment).await.map(Some),
            Command::Check => check(pipeline, &request, &attachment).await.map(|()| None),
            _ => unplug(pipeline, &request, &attachment).await.map(|()| None),
        },
    }
}

async fn plug(
    pipeline: &Pipeline,
    request: &PodRequest,
    attachment: Attachment,
) -> Result<CniResult, Error> {
    let ticket = pipeline.turns.ticket(&request.container_id);
    let mut limits = Limits::new(&ticket, pipeline.timeouts.request());
    let _turn = limits.turn(ticket).await?;
    carry_out_deferred(pipeline, request).await?;
    let prepared = prepare(pipeline, request, attachment);
    let (plan, mut policies, recorded) = limits.apply(prepared).await?;
    let Some(attachment) = plan.attachments.first() else {
        return Err(Error::NotAttached(request.container_id.clone()));
    };
    let mut entry = Entry::new(attachment, &plan.sandbox)?;
    let all: Vec<Entry> = recorded.iter().chain([&entry]).cloned().collect();
    let (cni_dir, bin_dirs) = (&request.conf.cni_dir, &request.conf.bin_dirs);
    pipeline.ledger.record(cni_dir, &all).await?;
    let mut executed = true;
    let added = async {
        let added = limits
            .delegate(|wanted| pipeline.delegates.add(bin_dirs, &entry, wanted))
            .await;
        let result = added.inspect_err(|error| {
            executed = !matches!(error, Error::Delegate(failed) if !failed.executed);
        })?;
        entry.result = Some(result.clone());
        pipeline.ledger.record_result(cni_dir, &entry).await?;
        add::announce(pipeline, &entry);
        limits
            .apply(async { Ok(policies.after_add(attachment, result).await?.result) })
            .await
    }
    .await;
    let Err(cause) = added else {
        return added;
    };
    add::announce_failure(pipeline, &entry.pod, &cause);
    let undone = match executed {
        true => del::detach(pipeline, cni_dir, bin_dirs, &entry).await,
        false => Ok(()),
    };
    let undone = match undone {
        Ok(()) => record(pipeline, request, &recorded).await,
        failed => failed,
    };
    match undone {
        Ok(()) => Err(cause),
        Err(left) => {
            tracing::error!(container = %request.container_id, error = crate::report::chain(&left), "not undone");
            Err(Error::NotUndone {
                cause: Box::new(cause),
                left: vec![left],
            })
        }
    }
}

/// A DEL of the whole container that came while no daemon was there is older than this request.
async fn carry_out_deferred(pipeline: &Pipeline, request: &PodRequest) -> Result<(), Error> {
    let (conf, container) = (&request.conf, &request.container_id);
    deferred::carry_out(pipeline, &conf.cni_dir, &conf.bin_dirs, container).await?;
    Ok(())
}

/// Everything before the first trace: the attachment as the policies leave it, as a plan of one,
/// and what the pod has already.
async fn prepare(
    pipeline: &Pipeline,
    request: &PodRequest,
    attachment: Attachment,
) -> Result<(Plan, Box<dyn crate::ports::PolicySession>, Vec<Entry>), Error> {
    let (sandbox, pod) =
        identity::identify(request, &*pipeline.cluster, pipeline.timeouts.pod()).await?;
    let mut policies = pipeline.policies.begin(Command::Add, &sandbox, Some(&pod));
    let attachment = policies.before_add(attachment).await?;
    policies.settle(std::slice::from_ref(&attachment)).await?;
    let attachment = resolve::with_device_info(attachment, &sandbox, &*pipeline.device_info);
    let recorded = recorded(pipeline, request).await?;
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
    resolve::check_names(&plan)?;
    add::refuse_if_taken(pipeline, request, &plan).await?;
    Ok((plan, policies, recorded))
}

async fn check(
    pipeline: &Pipeline,
    request: &PodRequest,
    attachment: &Attachment,
) -> Result<(), Error> {
    let _turn = pipeline.turns.take(&request.container_id).await;
    carry_out_deferred(pipeline, request).await?;
    let recorded = recorded(pipeline, request).await?;
    let entry = match of_interface(&recorded, &request.if_name) {
        Some(entry) => entry.clone(),
        None => unrecorded(pipeline, request, attachment).await?,
    };
    pipeline
        .delegates
        .check(&request.conf.bin_dirs, &entry)
        .await?;
    let mut policies = pipeline
        .policies
        .begin(Command::Check, &request.sandbox(), None);
    Ok(policies.check(&entry).await?)
}

async fn unplug(
    pipeline: &Pipeline,
    request: &PodRequest,
    attachment: &Attachment,
) -> Result<(), Error> {
    let _turn = pipeline.turns.take(&request.container_id).await;
    carry_out_deferred(pipeline, request).await?;
    let mut recorded = recorded(pipeline, request).await?;
    let position = recorded
        .iter()
        .position(|entry| entry.if_name == request.if_name);
    let entry = match position {
        Some(position) => recorded.remove(position),
        None => unrecorded(pipeline, request, attachment).await?,
    };
    let mut policies = pipeline
        .policies
        .begin(Command::Del, &request.sandbox(), None);
    policies.del(&entry).await;
    let conf = &request.conf;
    del::detach(pipeline, &conf.cni_dir, &conf.bin_dirs, &entry).await?;
    match position {
        Some(_) => record(pipeline, request, &recorded).await,
        None => Ok(()),
    }
}

/// What the sandbox has. The interface of the request is not that of the default network.
async fn recorded(pipeline: &Pipeline, request: &PodRequest) -> Result<Vec<Entry>, Error> {
    let sandbox = Sandbox {
        if_name: Sandbox::recorded(request.container_id.clone()).if_name,
        ..request.sandbox()
    };
    let loaded = pipeline.ledger.load(&request.conf.cni_dir, &sandbox).await;
    Ok(loaded?.unwrap_or_default())
}

fn of_interface<'a>(recorded: &'a [Entry], if_name: &IfName) -> Option<&'a Entry> {
    recorded.iter().find(|entry| entry.if_name == *if_name)
}

/// An attachment that is in no plan, such as one that Multus made: the request says what it is, and
/// the result cache what came of it.
async fn unrecorded(
    pipeline: &Pipeline,
    request: &PodRequest,
    attachment: &Attachment,
) -> Result<Entry, Error> {
    let mut entry = Entry::new(attachment, &request.sandbox())?;
    pipeline
        .ledger
        .recall(&request.conf.cni_dir, &mut entry)
        .await?;
    Ok(entry)
}

/// Makes these all that the sandbox has.
async fn record(pipeline: &Pipeline, request: &PodRequest, entries: &[Entry]) -> Result<(), Error> {
    let cni_dir = &request.conf.cni_dir;
    if entries.is_empty() {
        pipeline
            .ledger
            .forget(cni_dir, &request.container_id)
            .await?;
    } else {
        pipeline.ledger.record(cni_dir, entries).await?;
    }
    Ok(())
}
