//! Fakes of every port, which log all calls to them in one list, in order.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test support; each test binary uses its own part"
)]

mod cluster;
mod delegates;
mod ledger;
mod policies;
pub mod runtimes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cni_types::args::ContainerId;
use cni_types::json::RawObject;
use cnidaria_core::conf::timeouts::Timeouts;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::pod::{NETWORKS_ANNOTATION, Pod};
use cnidaria_core::pipeline::{Pipeline, Ports};
use cnidaria_core::ports::{Cluster, Delegates, DeviceInfo, Devices, Ledger, PodNetwork, Undo};

use daemon::adapters::delegates::Executor;
use daemon::adapters::node_files::ConfFiles;

pub use policies::FakePolicies;

/// `cniDir` of all requests.
pub const DIR: &str = "/var/lib/cni/multus";

/// A node of fakes. What `fail` contains fails or is denied.
#[derive(Default)]
pub struct World {
    pub log: Mutex<Vec<String>>,
    pub pods: Mutex<HashMap<String, Pod>>,
    pub nads: Mutex<HashMap<String, String>>,
    pub recorded: Mutex<HashMap<String, Vec<Entry>>>,
    pub fail: Mutex<HashSet<String>>,
    pub undos: Mutex<HashMap<String, Undo>>,
    pub statuses: Mutex<Vec<String>>,
    /// By network: the log line for which its ADD waits before it answers.
    pub slow: Mutex<HashMap<String, String>>,
    /// Policies after a delegate and Events of success, in order.
    pub told: Mutex<Vec<String>>,
    /// Networks whose removal policies saw, each with the number of detachments so far.
    pub seen_off: Mutex<Vec<(String, usize)>>,
    /// By network: the resource of which each attachment needs a device.
    pub resources: Mutex<HashMap<String, String>>,
    /// Resources and the devices of them that the kubelet allocated to every pod.
    pub allocated: Mutex<Vec<(&'static str, &'static str)>>,
    pub claims: Mutex<HashMap<String, serde_json::Value>>,
    pub slices: Mutex<Vec<serde_json::Value>>,
    /// Device descriptions, by path.
    pub device_info: Mutex<HashMap<String, String>>,
    pub deferred: Mutex<BTreeMap<String, Vec<u8>>>,
    /// The containers that were forgotten.
    pub forgotten: Mutex<HashSet<ContainerId>>,
    /// By network: the conf that a policy sets.
    pub edits: Mutex<HashMap<String, String>>,
    /// Where delegates were last looked for.
    pub bin_dirs: Mutex<Vec<PathBuf>>,
    /// `CNI_NETNS` of the last load from the ledger.
    pub netns: Mutex<Option<String>>,
    /// The boot id.
    pub boot: Mutex<String>,
    /// How many namespaces the paths have had before the current ones.
    pub namespaces: Mutex<u64>,
    /// Paths with a namespace different from that of all others.
    pub apart: Mutex<HashSet<PathBuf>>,
    /// `CNI_NETNS` of the last delegate's DEL.
    pub entered: Mutex<Option<String>>,
    /// The result cache's entries of containers without a plan.
    pub results: Mutex<HashMap<String, Vec<Entry>>>,
    /// What policies were asked to keep or release, in order.
    pub bonds: Mutex<Vec<String>>,
    /// Attachments with a DEL in progress.
    pub running: Mutex<HashSet<String>>,
    /// Verbs and pods of the policies' sessions, in order.
    pub sessions: Mutex<Vec<String>>,
}

impl World {
    pub fn new() -> Arc<Self> {
        let world = Self::default();
        "this".clone_into(&mut world.boot.lock().unwrap());
        for name in ["one", "two", "three"] {
            let conf = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"t"}}"#);
            world
                .nads
                .lock()
                .unwrap()
                .insert(format!("default/{name}"), conf);
        }
        Arc::new(world)
    }

    /// A node with an attached pod.
    pub async fn with_pod(name: &str, networks: &str) -> (Arc<Self>, Arc<Pipeline>) {
        let world = Self::new();
        let pipeline = world.pipeline();
        world.pod(name, networks);
        pipeline.handle(&body("ADD", name)).await.unwrap();
        (world, pipeline)
    }

    /// Adds a pod that selects networks.
    pub fn pod(&self, name: &str, networks: &str) {
        let mut pod = Pod {
            namespace: "default".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            ..Pod::default()
        };
        pod.annotations
            .insert(NETWORKS_ANNOTATION.into(), networks.into());
        self.pods.lock().unwrap().insert(name.into(), pod);
    }

    /// Makes `what` fail: `add one`, `del two`, `status`, `record`, `deny before-add one`, …
    pub fn fail(&self, what: &str) {
        self.fail.lock().unwrap().insert(what.into());
    }

    /// Records a DEL as a shim does.
    pub fn defer(&self, container: &str, record: Vec<u8>) {
        let mut deferred = self.deferred.lock().unwrap();
        deferred.insert(container.to_owned(), record);
    }

    /// Puts a namespace different from all others at a path.
    pub fn apart(&self, netns: &str) {
        self.apart.lock().unwrap().insert(netns.into());
    }

    fn fails(&self, what: &str) -> bool {
        self.fail.lock().unwrap().contains(what)
    }

    /// Never returns if `what` fails.
    async fn may_hang(&self, what: String) {
        if self.fails(&what) {
            self.did(what);
            std::future::pending::<()>().await;
        }
    }

    pub fn mend(&self) {
        self.fail.lock().unwrap().clear();
    }

    /// Delays the answer of a network's delegate until `until` is in the log.
    pub fn slow(&self, network: &str, until: &str) {
        let mut slow = self.slow.lock().unwrap();
        slow.insert(network.into(), until.into());
    }

    async fn be_slow(&self, network: &str) {
        let until = self.slow.lock().unwrap().get(network).cloned();
        let happened = |until| self.log.lock().unwrap().contains(until);
        while until.as_ref().is_some_and(|until| !happened(until)) {
            tokio::task::yield_now().await;
        }
    }

    fn keep(&self, bond: String) {
        self.bonds.lock().unwrap().push(bond);
    }

    /// The log since the last call.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn did(&self, what: String) -> bool {
        let fails = self.fails(&what);
        self.log.lock().unwrap().push(what);
        !fails
    }

    pub fn pipeline(self: &Arc<Self>) -> Arc<Pipeline> {
        self.pipeline_with(Arc::clone(self) as Arc<dyn Ledger>, RawObject::new())
    }

    /// A pipeline with another ledger and keys of the daemon's file.
    pub fn pipeline_with(
        self: &Arc<Self>,
        ledger: Arc<dyn Ledger>,
        overrides: RawObject,
    ) -> Arc<Pipeline> {
        Arc::new(self.unshared(ledger, overrides))
    }

    /// The same, still mutable.
    pub fn unshared(self: &Arc<Self>, ledger: Arc<dyn Ledger>, overrides: RawObject) -> Pipeline {
        Pipeline::new(self.ports(ledger), Timeouts::default(), overrides)
    }

    /// A pipeline on another cluster.
    pub fn pipeline_in(self: &Arc<Self>, cluster: Arc<dyn Cluster>) -> Arc<Pipeline> {
        let ports = Ports {
            cluster,
            ..self.ports(Arc::clone(self) as Arc<dyn Ledger>)
        };
        Arc::new(Pipeline::new(ports, Timeouts::default(), RawObject::new()))
    }

    /// A pipeline that executes delegates of this directory.
    pub fn pipeline_executing(self: &Arc<Self>, dir: &Path) -> Arc<Pipeline> {
        let overrides = format!(r#"{{"binDir":{dir:?}}}"#);
        let executor = Executor::new(Duration::from_secs(60), 4);
        let ports = Ports {
            delegates: Arc::new(executor),
            ..self.ports(Arc::clone(self) as Arc<dyn Ledger>)
        };
        let overrides = RawObject::parse(overrides.as_str()).unwrap();
        let pipeline = Pipeline::new(ports, Timeouts::default(), overrides);
        Arc::new(pipeline.attaching_at_once(4))
    }

    fn ports(self: &Arc<Self>, ledger: Arc<dyn Ledger>) -> Ports {
        Ports {
            cluster: Arc::clone(self) as Arc<dyn Cluster>,
            delegates: Arc::clone(self) as Arc<dyn Delegates>,
            ledger,
            policies: Arc::new(FakePolicies(Arc::clone(self))),
            pod_network: Arc::clone(self) as Arc<dyn PodNetwork>,
            devices: Arc::clone(self) as Arc<dyn Devices>,
            device_info: Arc::clone(self) as Arc<dyn DeviceInfo>,
            node_files: Arc::new(ConfFiles::default()),
        }
    }
}

/// Runs a daemon's retries for this long.
pub async fn retry(pipeline: &Arc<Pipeline>, seconds: u64) {
    tokio::select! {
        () = pipeline.finish_undos(Path::new(DIR)) => {}
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
    }
}

/// The body of `POST /cni` for a pod.
pub fn body(command: &str, pod: &str) -> Vec<u8> {
    body_with(command, pod, &format!("K8S_POD_UID=uid-{pod}"))
}

/// The same with other `CNI_ARGS` than the uid.
pub fn body_with(command: &str, pod: &str, args: &str) -> Vec<u8> {
    let env = [
        ("CNI_COMMAND", command.to_owned()),
        ("CNI_CONTAINERID", format!("cid-{pod}")),
        ("CNI_NETNS", format!("/run/netns/{pod}")),
        ("CNI_IFNAME", "eth0".to_owned()),
        (
            "CNI_ARGS",
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};{args}"),
        ),
    ];
    shim_api::Request {
        env: env.map(|(k, v)| (k.to_owned(), v)).into(),
        config: br#"{"cniVersion":"1.0.0","name":"multus-cni-network","type":"cnidaria-shim","delegates":[{"cniVersion":"1.0.0","name":"default","type":"t"}]}"#.to_vec(),
        interface_attributes: None,
    }
    .to_json()
}

/// The body of a GC with one valid container, or without a list of valid ones.
pub fn gc_body(valid: Option<&str>) -> Vec<u8> {
    let valid = valid
        .map(|id| {
            format!(r#","cni.dev/valid-attachments":[{{"containerID":"{id}","ifname":"eth0"}}]"#)
        })
        .unwrap_or_default();
    let conf = format!(
        r#"{{"cniVersion":"1.1.0","name":"multus-cni-network","type":"cnidaria-shim","delegates":[{{"cniVersion":"1.0.0","name":"default","type":"t"}}]{valid}}}"#
    );
    let env = [("CNI_COMMAND".to_owned(), "GC".to_owned())].into();
    shim_api::Request {
        env,
        config: conf.into_bytes(),
        interface_attributes: None,
    }
    .to_json()
}
