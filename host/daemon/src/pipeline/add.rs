//! ADD: a pod gets its networks, all of them or none.

use std::collections::BTreeMap;

use cni_types::args::Command;
use cni_types::result::CniResult;

use super::{Error, Pipeline};
use crate::domain::attachment::Plan;
use crate::domain::entry::Entry;
use crate::domain::network_status::{self, NetworkStatus};
use crate::ports::{Event, EventKind, PolicySession};
use crate::stages::request::PodRequest;
use crate::stages::{identity, resolve};

/// Gives the result of the default network.
pub(super) async fn add(pipeline: &Pipeline, request: PodRequest) -> Result<CniResult, Error> {
    let started = tokio::time::Instant::now();
    let _turn = pipeline.turns.take(&request.container_id).await;
    refuse_if_attached(pipeline, &request).await?;
    let (sandbox, pod) =
        identity::identify(&request, &*pipeline.cluster, pipeline.timeouts.pod()).await?;
    let mut policies = pipeline.policies.begin(Command::Add, &sandbox, Some(&pod));
    let selections = policies.select(resolve::selections(&pod)?).await?;
    resolve::check_isolation(&pod, &selections, &request.conf)?;
    let plan =
        resolve::resolve(&request.conf, sandbox, &pod, selections, &*pipeline.cluster).await?;
    let plan = before_add(plan, &mut *policies).await?;
    let mut addition = Addition::new(pipeline, &request, &plan)?;
    pipeline
        .ledger
        .record(&request.conf.cni_dir, &addition.entries)
        .await?;
    let deadline = started + pipeline.timeouts.request();
    let outcome = match tokio::time::timeout_at(deadline, addition.run(&plan, &mut *policies)).await
    {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Deadline(pipeline.timeouts.request())),
    };
    match outcome {
        Ok(result) => Ok(result),
        Err(cause) => Err(addition.undo(cause).await),
    }
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
    entries: Vec<Entry>,
    /// How many attachments, from the first one, may have left something.
    begun: usize,
}

impl<'a> Addition<'a> {
    fn new(pipeline: &'a Pipeline, request: &'a PodRequest, plan: &Plan) -> Result<Self, Error> {
        let entries = plan
            .attachments
            .iter()
            .map(|attachment| Entry::new(attachment, &plan.sandbox))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            pipeline,
            request,
            entries,
            begun: 0,
        })
    }

    async fn run(
        &mut self,
        plan: &Plan,
        policies: &mut dyn PolicySession,
    ) -> Result<CniResult, Error> {
        let mut statuses = Vec::with_capacity(self.entries.len());
        for position in 0..self.entries.len() {
            let tags = self.attach(position, plan, policies).await?;
            statuses.extend(self.status(position, &tags));
        }
        if !self
            .request
            .conf
            .system_namespaces
            .contains(&plan.sandbox.pod.namespace)
        {
            let status = serde_json::to_string(&statuses).expect("strings and numbers are JSON");
            self.pipeline
                .cluster
                .set_network_status(&plan.sandbox.pod, &status)
                .await?;
        }
        self.entries
            .first()
            .and_then(|entry| entry.result.clone())
            .ok_or_else(|| Error::NotAttached(self.request.container_id.clone()))
    }

    async fn attach(
        &mut self,
        position: usize,
        plan: &Plan,
        policies: &mut dyn PolicySession,
    ) -> Result<BTreeMap<String, String>, Error> {
        let conf = &self.request.conf;
        let (Some(entry), Some(attachment)) = (
            self.entries.get_mut(position),
            plan.attachments.get(position),
        ) else {
            return Ok(BTreeMap::new());
        };
        self.begun = position + 1;
        let added = self.pipeline.delegates.add(&conf.bin_dirs, entry).await;
        let result = added.inspect_err(|error| {
            if !error.executed {
                self.begun = position;
            }
        })?;
        // Undoing needs what the delegate answered, not what a policy made of it.
        entry.result = Some(result.clone());
        let (result, tags) = policies.after_add(attachment, result).await?;
        entry.result = Some(result);
        self.pipeline
            .ledger
            .record_result(&conf.cni_dir, entry)
            .await?;
        announce(self.pipeline, entry);
        Ok(tags)
    }

    fn status(&self, position: usize, tags: &BTreeMap<String, String>) -> Vec<NetworkStatus> {
        let Some((entry, result)) = self
            .entries
            .get(position)
            .and_then(|entry| Some((entry, entry.result.as_ref()?)))
        else {
            return Vec::new();
        };
        network_status::of_attachment(&entry.network, entry.is_default, result, tags)
    }

    /// Takes back what this ADD made, and nothing else. Gives the error to answer.
    async fn undo(self, cause: Error) -> Error {
        let conf = &self.request.conf;
        let mut left = Vec::new();
        for entry in self.entries.iter().take(self.begun).rev() {
            if let Err(error) = super::del::detach(self.pipeline, conf, entry).await {
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
            tracing::error!(container = %self.request.container_id, %error, "not undone");
        }
        Error::NotUndone {
            cause: Box::new(cause),
            left,
        }
    }
}

/// Tells the pod's owner, in Multus' words.
fn announce(pipeline: &Pipeline, entry: &Entry) {
    let Some(result) = entry
        .result
        .as_ref()
        .filter(|r| !(r.interfaces.is_empty() && r.ips.is_empty()))
    else {
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
