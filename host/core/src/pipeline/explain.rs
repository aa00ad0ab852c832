//! What an ADD would do, without doing it: the stages of an ADD up to its plan, with policies that
//! only rehearse.

use std::sync::Arc;
use std::time::Duration;

use super::execution::Execution;
use super::{Error, Pipeline, add};
use crate::conf::net_conf::{DefaultNetwork, NetConf};
use crate::domain::entry::Entry;
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod, PodRef};
use crate::domain::sandbox::Sandbox;
use crate::domain::selection::Selection;
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
    let patience = pipeline.timeouts.readiness.min(PATIENCE);
    readiness::await_indicator(conf, &*pipeline.ports.node_files, patience).await?;
    let Rehearsal {
        mut session,
        record,
    } = pipeline.ports.policies.rehearse(&sandbox, &pod);
    let planned = async {
        let selections = add::select(pipeline, conf, &pod, &mut *session).await?;
        let origins = origins(pipeline, conf, &pod, &selections)?;
        let plan = add::plan(pipeline, conf, sandbox, &pod, selections, &mut *session).await?;
        Ok((origins, plan))
    };
    let planned: Result<_, Error> = planned.await;
    explanation.actions = record.take();
    let (origins, plan) = planned?;
    let execution = Execution::new(pipeline, request, &plan)?;
    // What follows the known origins is the auxiliary chain.
    let origins = origins
        .into_iter()
        .chain(std::iter::repeat(Origin::Conf("auxiliaryCNIChainName")));
    explanation.networks = origins
        .zip(execution.entries())
        .zip(&plan.attachments)
        .map(|((origin, entry), attachment)| ExplainedNetwork {
            origin,
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

/// Where the networks of a plan come from, in its order and without the auxiliary chain.
fn origins(
    pipeline: &Pipeline,
    conf: &NetConf,
    pod: &Pod,
    selections: &[Selection],
) -> Result<Vec<Origin>, Error> {
    let mut origins = vec![
        match (pod.default_network_annotation(), &conf.default_network) {
            (Some(_), _) => Origin::Annotation(DEFAULT_NETWORK_ANNOTATION, 1),
            (None, DefaultNetwork::Cluster(_)) => Origin::Conf("clusterNetwork"),
            (None, DefaultNetwork::Delegates(_)) => Origin::Conf("delegates"),
        },
    ];
    if let DefaultNetwork::Delegates(confs) = &conf.default_network {
        origins.extend(confs.iter().skip(1).map(|_| Origin::Conf("delegates")));
    }
    if !conf.system_namespaces.contains(&pod.namespace) {
        let own = conf.default_networks.iter();
        origins.extend(own.map(|_| Origin::Conf("defaultNetworks")));
    }
    // Policies may reorder, drop and repeat what the pod selects.
    let mut requested: Vec<_> = resolve::selections(pod, &pipeline.limits)?
        .into_iter()
        .map(|selection| Some(selection.network()))
        .collect();
    origins.extend(selections.iter().map(|selection| {
        let network = selection.network();
        let same = |one: &Option<String>| one.as_ref() == Some(&network);
        match requested.iter().position(same) {
            Some(index) => {
                if let Some(taken) = requested.get_mut(index) {
                    *taken = None;
                }
                Origin::Annotation(NETWORKS_ANNOTATION, index + 1)
            }
            None => Origin::Policy,
        }
    }));
    Ok(origins)
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
