//! The cluster through the API server, with as few requests as possible: this node's pods and the
//! NADs are watched. A warm ADD costs one PATCH, a DEL nothing.

mod access;
mod cache;
mod call;
mod certificate;
pub mod client;
mod concurrency;
pub mod config;
mod connection;
mod counts;
mod events;
pub mod expiry;
mod kubeconfig;
mod object;
mod on_demand;
mod plugin;
mod resources;
mod status;
mod unavailable;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use access::{Access, NodeCertificate};
pub use client::{Client, DaemonSet};
pub use counts::Requests;

use cache::Cache;
use call::{Caller, Failure, Patience};
use certificate::Renewal;
use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{Pod, PodRef};
use cnidaria_core::domain::resource_claim::{ResourceClaim, ResourceSlice};
use cnidaria_core::ports::{Cluster, ClusterError, Event, Reach};
use cnidaria_core::supervision;
use connection::Connection;
use events::Recorder;
use object::{Kind, Namespace, Node};
use on_demand::OnDemand;
use unavailable::Unavailable;

/// How long an ADD waits for the watch to deliver its pod before asking the server. The runtime
/// often learns of a pod at the same moment as the watch.
const WATCH_PATIENCE: Duration = Duration::from_millis(150);
/// How long to retry fetching a NAD or claim that no cache has.
const NAD_PATIENCE: Duration = Duration::from_secs(10);

/// Settings of the adapter.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Access,
    /// Name of this node, whose pods are watched; `None` watches all pods.
    pub node_name: Option<String>,
    /// How long to retry writing network-status.
    pub write_patience: Duration,
    /// How long an outage of the API server may last before this node is not ready.
    pub outage_patience: Duration,
}

/// The cluster as the API server has it.
pub struct Kube {
    connection: Connection,
    caller: Caller,
    pods: Arc<Cache<Pod>>,
    nads: Arc<Cache<Nad>>,
    namespaces: OnDemand<Namespace>,
    node: OnDemand<Node>,
    events: Recorder,
    node_name: Option<String>,
    write_patience: Duration,
    outage_patience: Duration,
    tasks: Vec<AbortHandle>,
}

impl Kube {
    /// Starts the watches. Called once at start, on a tokio runtime. Does not wait for the API
    /// server, so that requests that need only the ledger are served during an outage.
    pub fn start(settings: Settings) -> Self {
        let connection = Connection::new(settings.access.clone());
        let pods = Arc::new(Cache::new());
        let nads = Arc::new(Cache::new());
        let fields = settings
            .node_name
            .as_deref()
            .map(|node| format!("spec.nodeName={node}"));
        let caller = Caller::new(connection.client());
        let (events, writer) = Recorder::new();
        let mut tasks = vec![
            watch(&pods, &connection, fields),
            watch(&nads, &connection, None),
            supervision::spawn("Events", (writer, caller.clone()), |(writer, caller)| {
                Box::pin(writer.run(caller))
            })
            .abort_handle(),
        ];
        if let Access::NodeCertificate(own) = settings.access {
            let renewal = Renewal::new(own, connection.clone());
            let renewing =
                supervision::spawn("certificate", renewal, |renewal| Box::pin(renewal.run()));
            tasks.push(renewing.abort_handle());
        }
        Self {
            caller,
            events,
            connection,
            pods,
            nads,
            node_name: settings.node_name,
            namespaces: OnDemand::new(),
            node: OnDemand::new(),
            write_patience: settings.write_patience,
            outage_patience: settings.outage_patience,
            tasks,
        }
    }

    /// A client for single requests, over this adapter's connection.
    pub fn client(&self) -> Client {
        Client::of(self.caller.clone())
    }

    /// The requests since the start, watches included.
    pub fn requests(&self) -> Vec<Requests> {
        self.connection.requests()
    }

    /// Each watched kind, and whether its cache is in sync.
    pub fn watches(&self) -> Vec<(&'static str, bool)> {
        let mut watches = vec![
            (<Pod as Kind>::KIND, self.pods.is_live()),
            (<Nad as Kind>::KIND, self.nads.is_live()),
        ];
        watches.extend(self.namespaces.is_live().map(|is| (Namespace::KIND, is)));
        watches.extend(self.node.is_live().map(|is| (Node::KIND, is)));
        watches
    }

    /// Whether a cache can be trusted. Requests hurry its watch before they ask.
    fn is_current<K: Kind>(&self, cache: &Cache<K>) -> bool {
        cache.is_complete() && self.connection.unavailable().is_none()
    }

    /// The API server's mirror of a static pod, whose uid differs from the runtime's.
    fn mirror(&self, pod: &PodRef) -> Option<Arc<Pod>> {
        let cached = self.pods.get(&pod.namespace, &pod.name);
        cached.filter(|cached| cached.is_static())
    }

    /// Polls the server and waits on the watch for the pod, until the deadline.
    async fn find_pod(&self, wanted: &PodRef, deadline: Instant) -> Result<Pod, ClusterError> {
        let fits = |pod: &Pod| is_wanted(pod, wanted);
        let mut patience = Patience::until(deadline);
        loop {
            self.pods.hurry();
            let (namespace, name) = (&wanted.namespace, &wanted.name);
            let asked = object::get::<Pod>(&self.caller, namespace, name, deadline).await;
            let (error, next) = match asked {
                Ok(Some(pod)) if fits(&pod) => return Ok(pod),
                Ok(Some(pod)) => {
                    return Err(ClusterError::UidMismatch {
                        pod: wanted.clone(),
                        found: pod.uid,
                    });
                }
                // The watch reports the pod as soon as it exists.
                Ok(None) => {
                    let live = self.is_current(&self.pods);
                    let at = Instant::now() + WATCH_PATIENCE;
                    let next = (!live && at < deadline).then_some(at);
                    (ClusterError::PodNotFound(wanted.clone()), next)
                }
                Err(failure) => {
                    let next = patience.next(&failure).filter(|_| failure.is_transient());
                    let failure = patience.report(failure);
                    (unavailable::<Pod>(namespace, name, failure), next)
                }
            };
            let until = match (&error, next) {
                (_, Some(at)) => at,
                (ClusterError::PodNotFound(_), None) => deadline,
                (_, None) => return Err(error),
            };
            // A cache that is out of sync has stale pods.
            let current = |pod: &Pod| self.is_current(&self.pods) && fits(pod);
            let seen = self
                .pods
                .wait(&wanted.namespace, &wanted.name, until, current)
                .await;
            match (seen, next) {
                (Some(pod), _) => return Ok(Pod::clone(&pod)),
                (None, Some(_)) => {}
                (None, None) => return Err(error),
            }
        }
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Kube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kube").finish_non_exhaustive()
    }
}

fn watch<K: Kind>(
    cache: &Arc<Cache<K>>,
    connection: &Connection,
    fields: Option<String>,
) -> AbortHandle {
    let state = (Arc::clone(cache), connection.clone(), fields);
    let watching = supervision::spawn(K::KIND, state, |(cache, connection, fields)| {
        Box::pin(cache.run(connection, fields.as_deref()))
    });
    watching.abort_handle()
}

fn unavailable<K: Kind>(namespace: &str, name: &str, failure: Failure) -> ClusterError {
    match failure {
        Failure::Malformed(reason) => ClusterError::Malformed {
            object: format!("{} {namespace}/{name}", K::KIND),
            reason,
        },
        failure => ClusterError::Unavailable(failure.to_string()),
    }
}

/// A pod of the right name is the wanted one if its uid matches, none was given, or it is the
/// mirror of a static pod.
fn is_wanted(pod: &Pod, wanted: &PodRef) -> bool {
    wanted.uid.is_empty() || pod.uid == wanted.uid || pod.is_static()
}

#[async_trait]
impl Cluster for Kube {
    async fn pod(&self, wanted: &PodRef, patience: Duration) -> Result<Pod, ClusterError> {
        let now = Instant::now();
        let deadline = now + patience;
        self.pods.hurry();
        if self.is_current(&self.pods) {
            let soon = deadline.min(now + WATCH_PATIENCE);
            let fits = |pod: &Pod| is_wanted(pod, wanted);
            let seen = self
                .pods
                .wait(&wanted.namespace, &wanted.name, soon, fits)
                .await;
            if let Some(pod) = seen {
                return Ok(Pod::clone(&pod));
            }
        }
        self.find_pod(wanted, deadline).await
    }

    async fn nad(&self, namespace: &str, name: &str) -> Result<Nad, ClusterError> {
        self.nads.hurry();
        if self.is_current(&self.nads)
            && let Some(nad) = self.nads.get(namespace, name)
        {
            return Ok(Nad::clone(&nad));
        }
        let mut patience = Patience::until(Instant::now() + NAD_PATIENCE);
        loop {
            let deadline = patience.deadline;
            match object::get::<Nad>(&self.caller, namespace, name, deadline).await {
                Ok(Some(nad)) => return Ok(nad),
                Ok(None) => {
                    return Err(ClusterError::NadNotFound {
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                    });
                }
                Err(failure) => match patience.next(&failure).filter(|_| failure.is_transient()) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => {
                        let failure = patience.report(failure);
                        return Err(unavailable::<Nad>(namespace, name, failure));
                    }
                },
            }
        }
    }

    async fn nad_if_any(&self, namespace: &str, name: &str) -> Result<Option<Nad>, ClusterError> {
        self.nads.hurry();
        if self.is_current(&self.nads) {
            return Ok(self.remembered_nad(namespace, name));
        }
        match self.nad(namespace, name).await {
            Err(ClusterError::NadNotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    async fn resource_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<ResourceClaim, ClusterError> {
        let deadline = Instant::now() + NAD_PATIENCE;
        resources::claim(&self.caller, namespace, name, deadline).await
    }

    async fn resource_slices(
        &self,
        driver: &str,
        reach: Reach,
    ) -> Result<Vec<ResourceSlice>, ClusterError> {
        let deadline = Instant::now() + NAD_PATIENCE;
        let node = self.node_name.as_deref();
        resources::slices(&self.caller, driver, node, reach, deadline).await
    }

    async fn set_network_status(&self, pod: &PodRef, status: &str) -> Result<(), ClusterError> {
        let mirror = self.mirror(pod);
        let uid = mirror.map_or_else(|| pod.uid.clone(), |mirror| mirror.uid.clone());
        let deadline = Instant::now() + self.write_patience;
        status::write(&self.caller, pod, &uid, status, deadline).await
    }

    fn remembered_nad(&self, namespace: &str, name: &str) -> Option<Nad> {
        self.nads.get(namespace, name).as_deref().cloned()
    }

    fn remembered_nads(&self) -> Vec<Nad> {
        let all = self.nads.all();
        all.iter().map(|nad| nad.as_ref().clone()).collect()
    }

    fn remember_namespaces(&self) {
        self.namespaces.begin(&self.connection, None);
    }

    fn namespace(&self, name: &str) -> Option<Metadata> {
        Some(self.namespaces.get(name)?.0.clone())
    }

    fn remember_node(&self, name: &str) {
        let fields = format!("metadata.name={name}");
        self.node.begin(&self.connection, Some(fields));
    }

    fn node(&self, name: &str) -> Option<Metadata> {
        Some(self.node.get(name)?.0.clone())
    }

    fn event(&self, pod: &PodRef, event: Event) {
        let mut pod = pod.clone();
        if let Some(mirror) = self.mirror(&pod) {
            pod.uid.clone_from(&mirror.uid);
        }
        self.events.record(&pod, event);
    }

    /// Not being ready marks the node and its pods NotReady once the API server is back. An outage
    /// hits every node at once, so it gets a grace period.
    fn ready(&self) -> Result<(), ClusterError> {
        self.pods.hurry();
        self.nads.hurry();
        self.namespaces.hurry();
        self.node.hurry();
        let listed = self.pods.is_listed() && self.nads.is_listed();
        let reasons = [
            self.connection.unavailable(),
            self.pods.unavailable(),
            self.nads.unavailable(),
            self.namespaces.unavailable(),
            self.node.unavailable(),
        ];
        let passes =
            |unavailable: &Unavailable| listed && unavailable.is_shorter_than(self.outage_patience);
        match reasons.into_iter().flatten().find(|one| !passes(one)) {
            Some(unavailable) => Err(ClusterError::Unavailable(unavailable.reason)),
            None => Ok(()),
        }
    }
}
