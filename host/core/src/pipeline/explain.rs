//! What an ADD would do, without doing it: the stages of an ADD up to its plan, with policies that
//! only rehearse.

use std::sync::Arc;
use std::time::Duration;

use super::execution::Execution;
use super::{Error, Pipeline, add, warnings};
use crate::conf::net_conf::{DefaultNetwork, NetConf};
use crate::domain::attachment::Attachment;
use crate::domain::entry::Entry;
use crate::domain::networks::{Networks, Wanted};
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod, PodRef};
use crate::domain::sandbox::Sandbox;
use crate::ports::{PolicyAction, Rehearsal};
use crate::stages::request::PodRequest;
use crate::stages::{identity, readiness, resolve};

/// How long the pod and the readiness indicator may take to appear: an operator is waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an ADD would do.
#[derive(Debug)]
pub struct Explanation {
    /// The pod.
    pub pod: PodRef,
    /// The networks in ADD order; empty if the ADD would fail before there is a plan.
    pub networks: Vec<ExplainedNetwork>,
    /// Misspelt annotations of the pod, and misspelt members in them, which the ADD ignores.
    pub ignored: Vec<String>,
    /// What the policies would do, in order.
    pub actions: Vec<PolicyAction>,
    /// Why the ADD would fail before its first delegate; `None` if it would start.
    pub refusal: Option<Error>,
    /// The pod's attachments in the ledger now.
    pub recorded: Vec<Entry>,
}

/// A network of the plan.
#[derive(Debug)]
pub struct ExplainedNetwork {
    /// Why the pod gets it.
    pub origin: Origin,
    /// Exactly what its delegates would be given.
    pub entry: Entry,
    /// Requested capabilities that no plugin of the network declares.
    pub untaken: Vec<&'static str>,
}

/// Why a pod gets a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A key of the CNI conf: `clusterNetwork`, `delegates`, `defaultNetworks` or
    /// `auxiliaryCNIChainName`.
    Conf(&'static str),
    /// An element of an annotation of the pod, counted from 1.
    Annotation(&'static str, usize),
    /// A policy's select hook.
    Policy,
}

/// Explains an ADD; `pod` replaces the cluster's.
pub(super) async fn explain(
    pipeline: &Arc<Pipeline>,
    request: PodRequest,
    pod: Option<Pod>,
) -> Result<Explanation, Error> {
    let mut explanation = Explanation {
        pod: request.pod_ref(),
        networks: Vec::new(),
        ignored: Vec::new(),
        actions: Vec::new(),
        refusal: None,
        recorded: Vec::new(),
    };
    explanation.refusal = rehearse(pipeline, &request, pod, &mut explanation)
        .await
        .err();
    explanation.recorded = recorded(pipeline, &explanation.pod).await;
    Ok(explanation)
}

async fn rehearse(
    pipeline: &Pipeline,
    request: &PodRequest,
    pod: Option<Pod>,
    explanation: &mut Explanation,
) -> Result<(), Error> {
    let conf = &request.conf;
    let (sandbox, pod) = match pod {
        Some(pod) => (sandbox_of(request, &pod), pod),
        None => {
            let patience = pipeline.timeouts.pod.min(PATIENCE);
            identity::identify(request, &*pipeline.ports.cluster, patience).await?
        }
    };
    explanation.pod = sandbox.pod.clone();
    explanation.ignored = warnings::ignored_members(&pod, &pipeline.limits);
    let patience = pipeline.timeouts.readiness.min(PATIENCE);
    readiness::await_indicator(conf, &*pipeline.ports.node_files, patience).await?;
    let Rehearsal {
        mut session,
        record,
    } = pipeline.ports.policies.rehearse(&sandbox, &pod);
    let planned = async {
        let networks = add::select(pipeline, conf, &pod, &mut *session).await?;
        let origins = Origins::of(pipeline, conf, &pod, &networks)?;
        let plan = add::plan(pipeline, conf, sandbox, &pod, networks, &mut *session).await?;
        Ok((origins, plan))
    };
    let planned: Result<_, Error> = planned.await;
    explanation.actions = record.take();
    let (origins, plan) = planned?;
    let execution = Execution::new(pipeline, request, &plan)?;
    explanation.networks = execution
        .entries()
        .iter()
        .zip(&plan.attachments)
        .map(|(entry, attachment)| ExplainedNetwork {
            origin: origins.of_attachment(attachment),
            entry: entry.clone(),
            untaken: attachment.untaken_requests(),
        })
        .collect();
    Ok(())
}

fn sandbox_of(request: &PodRequest, pod: &Pod) -> Sandbox {
    Sandbox {
        pod: pod.reference(),
        ..request.sandbox()
    }
}

/// Where the networks of a plan come from. Policies may leave some of them out.
struct Origins {
    default: Origin,
    /// Those of the networks after the select hook, by index.
    others: Vec<Origin>,
    /// Those that the select hook does not see: `delegates`, or the auxiliary chain, which a conf
    /// with `delegates` cannot have.
    unseen: Origin,
}

impl Origins {
    fn of(
        pipeline: &Pipeline,
        conf: &NetConf,
        pod: &Pod,
        networks: &Networks,
    ) -> Result<Self, Error> {
        let (cluster, unseen) = match &conf.default_network {
            DefaultNetwork::Cluster(_) => ("clusterNetwork", "auxiliaryCNIChainName"),
            DefaultNetwork::Delegates(_) => ("delegates", "delegates"),
        };
        let default = match &networks.default {
            Some(selection) if selection.named_by.is_some() => Origin::Policy,
            Some(_) => Origin::Annotation(DEFAULT_NETWORK_ANNOTATION, 1),
            None => Origin::Conf(cluster),
        };
        // Policies may reorder, drop and repeat what the pod selects.
        let mut requested: Vec<_> = resolve::selections(pod, &pipeline.limits)?
            .into_iter()
            .map(|selection| Some(selection.network()))
            .collect();
        let others = networks.others.iter().map(|wanted| {
            let selection = match wanted {
                Wanted::OfNode(_) => return Origin::Conf("defaultNetworks"),
                Wanted::Selected(selection) if selection.named_by.is_some() => {
                    return Origin::Policy;
                }
                Wanted::Selected(selection) => selection,
            };
            let network = Some(selection.network());
            match requested
                .iter_mut()
                .enumerate()
                .find(|(_, one)| **one == network)
            {
                Some((index, taken)) => {
                    *taken = None;
                    Origin::Annotation(NETWORKS_ANNOTATION, index + 1)
                }
                None => Origin::Policy,
            }
        });
        Ok(Self {
            default,
            others: others.collect(),
            unseen: Origin::Conf(unseen),
        })
    }

    fn of_attachment(&self, attachment: &Attachment) -> Origin {
        let other = attachment
            .selection
            .and_then(|index| self.others.get(index));
        match (attachment.is_default, other) {
            (true, _) => self.default.clone(),
            (false, Some(other)) => other.clone(),
            (false, None) => self.unseen.clone(),
        }
    }
}

/// The recorded attachments of the pod. A directory that cannot be read has none.
async fn recorded(pipeline: &Pipeline, pod: &PodRef) -> Vec<Entry> {
    let mut recorded = Vec::new();
    for dir in pipeline.directories() {
        let Ok(listing) = pipeline.entries(&dir).await else {
            continue;
        };
        let of_pod = listing.entries.into_iter().filter(|entry| {
            let same_uid =
                pod.uid.is_empty() || entry.pod.uid.is_empty() || entry.pod.uid == pod.uid;
            entry.pod.namespace == pod.namespace && entry.pod.name == pod.name && same_uid
        });
        recorded.extend(of_pod);
    }
    recorded
}
