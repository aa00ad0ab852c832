//! A node that consists of the daemon's own pipeline and simulated surroundings: networks and pods in
//! memory, delegates that answer what a case says, a ledger in memory.

mod cluster;
mod delegates;
mod files;
mod ledger;
mod network;
mod recorder;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cni_types::json::RawObject;
use cni_types::result::CniResult;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::pipeline::{Error, Pipeline, Ports};
use parking_lot::Mutex;
use policies::{Engine, Lookup};
use policy_engine::PolicyHost;
use policy_engine::record::{Memory, Recorded};
use policy_engine::trial::{Environment, Loaded, StateValue};

pub(crate) use delegates::{ANY, Answer, misspelt};
pub(crate) use recorder::{Denial, Edit, PolicyEvent};
pub(crate) use request::{RuntimeCall, Verb};

use crate::manifests::Objects;
use recorder::Recorder;
use request::DEFAULT_NETWORK;

/// The name of a node without one of its own.
pub(crate) const NODE: &str = "node";

/// The surroundings of the pipeline, all of them in memory.
#[derive(Debug, Default)]
struct World {
    objects: Objects,
    /// The conf of the default network.
    default: String,
    answers: Mutex<BTreeMap<String, Answer>>,
    recorded: Mutex<BTreeMap<String, Vec<Entry>>>,
    /// The network-status of each pod, by `namespace/name`.
    statuses: Mutex<BTreeMap<String, String>>,
}

/// A node with one policy.
pub(crate) struct Node<'p> {
    policy: &'p Loaded,
    host: Arc<PolicyHost>,
    pipeline: Arc<Pipeline>,
    world: Arc<World>,
    recorder: Arc<Recorder>,
    memory: Option<Arc<Memory>>,
    clock: Option<Arc<AtomicU64>>,
    /// The conf of the shim, which names the default network.
    conf: String,
}

/// What surrounds a policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// Pods, networks, namespaces and nodes.
    pub(crate) objects: Objects,
    /// The conf of the default network; one of type `bridge` if absent.
    pub(crate) default: Option<String>,
    /// Networks of namespace `kube-system` that the node gives to every pod.
    pub(crate) default_networks: Vec<String>,
    /// The node's name.
    pub(crate) node: Option<String>,
    /// The state that the policy has kept.
    pub(crate) state: BTreeMap<String, StateValue>,
    /// Milliseconds since 1970; the system's time if absent.
    pub(crate) clock: Option<u64>,
    /// Whether requests are recorded.
    pub(crate) is_recorded: bool,
}

/// The outcome of one request.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The result of an ADD, or why the request failed.
    pub(crate) result: Result<Option<CniResult>, Error>,
    /// What the policy did, in order.
    pub(crate) events: Vec<PolicyEvent>,
}

impl Answered {
    /// The denial that failed the request, if one did.
    pub(crate) fn denial(&self) -> Option<&Denial> {
        let events = self.events.iter().rev();
        let mut denials = events.filter_map(|event| match event {
            PolicyEvent::Denied(denial) => Some(denial),
            _ => None,
        });
        denials.find(|denial| denial.is_enforced && self.result.is_err())
    }
}

impl<'p> Node<'p> {
    /// A node on which nothing is attached yet.
    pub(crate) fn new(policy: &'p Loaded, surroundings: Surroundings) -> Self {
        let Surroundings {
            objects,
            default,
            default_networks,
            node,
            state,
            clock,
            is_recorded,
        } = surroundings;
        let default = request::default_network(default.as_deref());
        let conf = request::conf(&default, &default_networks);
        let world = Arc::new(World {
            objects,
            default: default.to_string(),
            ..World::default()
        });
        let recorder = Arc::new(Recorder::default());
        let clock = clock.map(|clock| Arc::new(AtomicU64::new(clock)));
        let node = node.unwrap_or_else(|| NODE.to_owned());
        let cluster: Arc<dyn cnidaria_core::ports::Cluster> = Arc::clone(&world) as _;
        let memory = is_recorded.then(Arc::<Memory>::default);
        let lookup = Lookup::new(Arc::clone(&cluster), node.clone());
        let lookup = lookup.with_standing(Arc::clone(&world) as _);
        let environment = Environment {
            cluster: Some(Arc::new(lookup)),
            observer: None,
            witness: Some(Arc::clone(&recorder) as _),
            clock: clock.clone(),
            memory: memory.clone(),
            state,
        };
        let host = Arc::new(policy.host(&environment));
        let policies = Engine::new(Arc::clone(&host), Arc::clone(&cluster), node);
        let ports = Ports {
            cluster,
            delegates: Arc::clone(&world) as _,
            ledger: Arc::clone(&world) as _,
            policies: Arc::new(policies),
            pod_network: Arc::clone(&world) as _,
            devices: Arc::clone(&world) as _,
            device_info: Arc::clone(&world) as _,
            node_files: Arc::clone(&world) as _,
        };
        let pipeline = Pipeline::new(ports, request::timeouts(), RawObject::new());
        Self {
            policy,
            host,
            pipeline: Arc::new(pipeline),
            world,
            recorder,
            memory,
            clock,
            conf,
        }
    }

    /// Sets what the delegates answer from now on, by network.
    pub(crate) fn answer_with(&self, answers: BTreeMap<String, Answer>) {
        *self.world.answers.lock() = answers;
    }

    /// Sets the time that the policy sees, if it began with one.
    pub(crate) fn set_clock(&self, unix_ms: u64) {
        if let Some(clock) = &self.clock {
            clock.store(unix_ms, Ordering::Relaxed);
        }
    }

    /// Handles a request as the daemon would.
    pub(crate) async fn handle(&self, request: &RuntimeCall) -> Answered {
        let body = request.body(&self.conf, &self.world);
        let result = self.pipeline.handle(&body).await;
        Answered {
            result,
            events: self.recorder.take(),
        }
    }

    /// The recorded attachments of a sandbox, in order.
    pub(crate) fn entries(&self, container: &str) -> Vec<Entry> {
        let recorded = self.world.recorded.lock();
        recorded.get(container).cloned().unwrap_or_default()
    }

    /// The network-status of a pod, as JSON text.
    pub(crate) fn status(&self, namespace: &str, name: &str) -> Option<String> {
        let statuses = self.world.statuses.lock();
        statuses.get(&format!("{namespace}/{name}")).cloned()
    }

    /// The recorded requests since the last time.
    pub(crate) fn records(&self) -> Vec<Recorded> {
        self.memory
            .as_ref()
            .map(|memory| memory.take())
            .unwrap_or_default()
    }

    /// What the policy keeps now.
    pub(crate) fn state(&self) -> Vec<(String, Vec<u8>)> {
        self.policy.kept(&self.host)
    }
}
