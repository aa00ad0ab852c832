//! Fakes of every port, which write down what they were asked in one list, in order.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test support; each test binary uses its own part"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cni_types::args::{Command, ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::error::CniError;
use cni_types::json::RawObject;
use cni_types::result::CniResult;
use cni_types::version::{ConfVersion, Version};
use daemon::config::daemon::Timeouts;
use daemon::domain::attachment::Attachment;
use daemon::domain::device::Allocation;
use daemon::domain::entry::Entry;
use daemon::domain::nad::Nad;
use daemon::domain::pod::{NETWORKS_ANNOTATION, Pod, PodRef};
use daemon::domain::resource_claim::{ResourceClaim, ResourceSlice};
use daemon::domain::sandbox::Sandbox;
use daemon::domain::selection::Selection;
use daemon::pipeline::{Pipeline, Ports};
use daemon::ports::{
    Attached, Cluster, ClusterError, DelegateError, Delegates, Denial, DeviceInfo, Devices,
    DevicesError, Event, EventKind, Finale, Ledger, LedgerError, Listing, Outcome, PodNetwork,
    PodNetworkError, Policies, PolicySession, Reach, Undo, Wanted,
};
use serde_json::value::RawValue;
use shim_api::deferred::NetnsId;

/// A node of fakes. What is in the sets fails or is denied.
#[derive(Default)]
pub struct World {
    pub log: Mutex<Vec<String>>,
    pub pods: Mutex<HashMap<String, Pod>>,
    pub nads: Mutex<HashMap<String, String>>,
    pub recorded: Mutex<HashMap<String, Vec<Entry>>>,
    pub fail: Mutex<HashSet<String>>,
    pub undos: Mutex<HashMap<String, Undo>>,
    pub statuses: Mutex<Vec<String>>,
    /// Networks and what their ADD waits for, before it is answered.
    pub slow: Mutex<HashMap<String, String>>,
    /// Policies after a delegate and Events of success, in order.
    pub told: Mutex<Vec<String>>,
    /// Networks and the resource of which each attachment needs a device.
    pub resources: Mutex<HashMap<String, String>>,
    /// Resources and what the kubelet allocated of them to every pod.
    pub allocated: Mutex<Vec<(&'static str, &'static str)>>,
    pub claims: Mutex<HashMap<String, serde_json::Value>>,
    pub slices: Mutex<Vec<serde_json::Value>>,
    /// What is said of devices, by the path of the file.
    pub device_info: Mutex<HashMap<String, String>>,
    pub deferred: Mutex<BTreeMap<String, Vec<u8>>>,
    /// `CNI_NETNS` as the ledger was asked with it last.
    pub netns: Mutex<Option<String>>,
}

impl World {
    pub fn new() -> Arc<Self> {
        let world = Self::default();
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

    /// A pod that asks for networks.
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

    pub fn mend(&self) {
        self.fail.lock().unwrap().clear();
    }

    /// Lets the delegate of a network answer only after something else is in the log.
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

    /// What happened since the last call.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn did(&self, what: String) -> bool {
        let fails = self.fail.lock().unwrap().contains(&what);
        self.log.lock().unwrap().push(what);
        !fails
    }

    pub fn pipeline(self: &Arc<Self>) -> Pipeline {
        self.pipeline_with(Arc::clone(self) as Arc<dyn Ledger>, RawObject::new())
    }

    /// The same with another ledger and keys of the daemon's file.
    pub fn pipeline_with(
        self: &Arc<Self>,
        ledger: Arc<dyn Ledger>,
        overrides: RawObject,
    ) -> Pipeline {
        let ports = Ports {
            cluster: Arc::clone(self) as Arc<dyn Cluster>,
            delegates: Arc::clone(self) as Arc<dyn Delegates>,
            ledger,
            policies: Arc::new(FakePolicies(Arc::clone(self))),
            pod_network: Arc::clone(self) as Arc<dyn PodNetwork>,
            devices: Arc::clone(self) as Arc<dyn Devices>,
            device_info: Arc::clone(self) as Arc<dyn DeviceInfo>,
        };
        Pipeline::new(ports, Timeouts::default(), overrides)
    }
}

/// The body of `POST /cni` for a pod.
pub fn body(command: &str, pod: &str) -> Vec<u8> {
    body_with(command, pod, &format!("K8S_POD_UID=uid-{pod}"))
}

/// The same with other arguments in `CNI_ARGS` than the uid.
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
        config: br#"{"cniVersion":"1.0.0","name":"n","type":"cnidaria-shim","delegates":[{"cniVersion":"1.0.0","name":"default","type":"t"}]}"#.to_vec(),
        interface_attributes: None,
    }
    .to_json()
}

/// The body of a GC for which one container is in use, or nothing is said.
pub fn gc_body(valid: Option<&str>) -> Vec<u8> {
    let valid = valid
        .map(|id| {
            format!(r#","cni.dev/valid-attachments":[{{"containerID":"{id}","ifname":"eth0"}}]"#)
        })
        .unwrap_or_default();
    let conf = format!(
        r#"{{"cniVersion":"1.1.0","name":"n","type":"t","delegates":[{{"cniVersion":"1.0.0","name":"default","type":"t"}}]{valid}}}"#
    );
    let env = [("CNI_COMMAND".to_owned(), "GC".to_owned())].into();
    shim_api::Request {
        env,
        config: conf.into_bytes(),
        interface_attributes: None,
    }
    .to_json()
}

#[async_trait]
impl Cluster for World {
    async fn pod(&self, wanted: &PodRef, _patience: Duration) -> Result<Pod, ClusterError> {
        self.did(format!("pod {}", wanted.name));
        let found = self.pods.lock().unwrap().get(&wanted.name).cloned();
        found.ok_or_else(|| ClusterError::PodNotFound(wanted.clone()))
    }

    async fn nad(&self, namespace: &str, name: &str) -> Result<Nad, ClusterError> {
        let config = self
            .nads
            .lock()
            .unwrap()
            .get(&format!("{namespace}/{name}"))
            .cloned();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match config {
            Some(config) => {
                let resource = self.resources.lock().unwrap().get(&name).cloned();
                let annotation = "k8s.v1.cni.cncf.io/resourceName".to_owned();
                Ok(Nad {
                    namespace,
                    name,
                    config: Some(config),
                    annotations: resource
                        .map(|name| (annotation, name))
                        .into_iter()
                        .collect(),
                })
            }
            None => Err(ClusterError::NadNotFound { namespace, name }),
        }
    }

    async fn resource_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<ResourceClaim, ClusterError> {
        self.did(format!("claim {name}"));
        match self.claims.lock().unwrap().get(name) {
            Some(claim) => Ok(serde_json::from_value(claim.clone()).unwrap()),
            None => Err(ClusterError::ClaimNotFound {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    async fn resource_slices(
        &self,
        driver: &str,
        reach: Reach,
    ) -> Result<Vec<ResourceSlice>, ClusterError> {
        self.did(format!("slices {driver} {reach:?}"));
        let slices = self.slices.lock().unwrap().clone();
        let slices = slices
            .into_iter()
            .map(|slice| serde_json::from_value::<ResourceSlice>(slice).unwrap());
        let of = |slice: &ResourceSlice| {
            slice.spec.driver == driver && slice.spec.node_name.is_some() == (reach == Reach::Node)
        };
        Ok(slices.filter(of).collect())
    }

    async fn set_network_status(&self, pod: &PodRef, status: &str) -> Result<(), ClusterError> {
        if self.did("status".into()) {
            self.statuses.lock().unwrap().push(status.into());
            return Ok(());
        }
        Err(ClusterError::NotWritten {
            pod: pod.clone(),
            reason: "told to fail".into(),
        })
    }

    fn event(&self, _pod: &PodRef, event: Event) {
        if event.kind == EventKind::Warning {
            self.did(format!("event {}: {}", event.reason, event.message));
        } else {
            self.told.lock().unwrap().push(event.message);
        }
    }

    fn ready(&self) -> Result<(), ClusterError> {
        Ok(())
    }
}

#[async_trait]
impl Devices for World {
    async fn allocated(&self, pod: &PodRef) -> Result<Allocation, DevicesError> {
        if !self.did(format!("devices {} {}", pod.name, pod.uid)) {
            return Err(DevicesError {
                pod: pod.clone(),
                socket: "/socket".into(),
                reason: "told to fail".into(),
                checkpoint: "/checkpoint".into(),
                checkpoint_reason: "told to fail".into(),
            });
        }
        let mut allocation = Allocation::default();
        for (resource, id) in &*self.allocated.lock().unwrap() {
            allocation.add(resource, *id);
        }
        Ok(allocation)
    }
}

#[async_trait]
impl DeviceInfo for World {
    fn path(&self, name: &str) -> String {
        format!("/devinfo/{}", name.replace('/', "-"))
    }

    async fn read(&self, path: &str) -> Option<Box<RawValue>> {
        let said = self.device_info.lock().unwrap().get(path).cloned();
        said.map(|text| RawValue::from_string(text).unwrap())
    }
}

#[async_trait]
impl Delegates for World {
    async fn add(
        &self,
        _bin_dirs: &[PathBuf],
        entry: &Entry,
        mut wanted: Wanted,
    ) -> Result<CniResult, DelegateError> {
        let added = self.delegate("add", entry);
        self.be_slow(entry.conf.name().as_str()).await;
        added?;
        let slow = format!("slow {}", entry.conf.name());
        if self.fail.lock().unwrap().contains(&slow) {
            wanted.not_any_more().await;
            self.did(format!("ended {}", entry.conf.name()));
        }
        if self
            .fail
            .lock()
            .unwrap()
            .contains(&format!("hang {}", entry.conf.name()))
        {
            std::future::pending::<()>().await;
        }
        let text = format!(
            r#"{{"cniVersion":"1.0.0","interfaces":[{{"name":"{0}","sandbox":"s"}}],"ips":[{{"address":"10.0.0.1/24","interface":0}}]}}"#,
            entry.if_name
        );
        Ok(CniResult::parse(text.as_bytes(), ConfVersion::from(Version::V1_0_0)).unwrap())
    }

    async fn check(&self, _bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        self.delegate("check", entry)
    }

    async fn status(&self, _: &[PathBuf], conf: &NetworkConfList) -> Result<(), DelegateError> {
        self.asked("status", conf, conf.name().as_str())
    }

    async fn gc(
        &self,
        _: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        let valid: Vec<_> = valid
            .iter()
            .map(|v| format!("{}/{}", v.container_id, v.if_name))
            .collect();
        self.log
            .lock()
            .unwrap()
            .push(format!("valid {}", valid.join(" ")));
        self.asked("gc", conf, conf.name().as_str())
            .map_err(|error| vec![error])
    }

    async fn del(&self, _bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        self.delegate("del", entry)
    }
}

impl World {
    fn delegate(&self, verb: &str, entry: &Entry) -> Result<(), DelegateError> {
        self.asked(verb, &entry.conf, &entry.network)
    }

    fn asked(
        &self,
        verb: &str,
        conf: &NetworkConfList,
        network: &str,
    ) -> Result<(), DelegateError> {
        let what = format!("{verb} {}", conf.name());
        if self.did(what.clone()) {
            return Ok(());
        }
        let executed = !self.fail.lock().unwrap().contains("not executed");
        let error = CniError::new(123, format!("{what} told to fail"));
        Err(DelegateError {
            network: network.to_owned(),
            error,
            executed,
        })
    }
}

#[async_trait]
impl PodNetwork for World {
    async fn existing(&self, _: &Path, names: &[IfName]) -> Result<Vec<IfName>, PodNetworkError> {
        let fail = self.fail.lock().unwrap();
        Ok(names
            .iter()
            .filter(|name| fail.contains(&format!("exists {name}")))
            .cloned()
            .collect())
    }

    async fn identity(&self, netns: &Path) -> Option<NetnsId> {
        NetnsId::at(netns)
    }

    async fn set_default_route(
        &self,
        _: &Path,
        if_name: &IfName,
        gateway: IpAddr,
    ) -> Result<(), PodNetworkError> {
        self.did(format!("default route {gateway} on {if_name}"));
        Ok(())
    }
}

#[async_trait]
impl Ledger for World {
    async fn record(&self, _dir: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        if !self.did("record".into()) {
            return Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            });
        }
        let container = entries[0].container_id.to_string();
        self.recorded
            .lock()
            .unwrap()
            .insert(container, entries.to_vec());
        Ok(())
    }

    async fn record_result(&self, _dir: &Path, entry: &Entry) -> Result<(), LedgerError> {
        match self.did(format!("record-result {}", entry.conf.name())) {
            true => Ok(()),
            false => Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            }),
        }
    }

    async fn restore(&self, _dir: &Path, _entries: &[Entry]) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn load(
        &self,
        _dir: &Path,
        sandbox: &Sandbox,
    ) -> Result<Option<Vec<Entry>>, LedgerError> {
        self.netns.lock().unwrap().clone_from(&sandbox.netns);
        if self.fail.lock().unwrap().contains("load") {
            return Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            });
        }
        Ok(self
            .recorded
            .lock()
            .unwrap()
            .get(sandbox.container_id.as_str())
            .cloned())
    }

    async fn recall(&self, _dir: &Path, _entry: &mut Entry) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forget_result(&self, _dir: &Path, _entry: &Entry) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forget(&self, _dir: &Path, container: &ContainerId) -> Result<(), LedgerError> {
        self.did("forget".into());
        self.undos.lock().unwrap().remove(container.as_str());
        self.recorded.lock().unwrap().remove(container.as_str());
        Ok(())
    }

    async fn deferred(&self, _dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        let deferred = self.deferred.lock().unwrap();
        let ids = deferred.keys().map(|id| ContainerId::new(id).unwrap());
        Ok(ids.collect())
    }

    async fn deferred_del(
        &self,
        _dir: &Path,
        container: &ContainerId,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let deferred = self.deferred.lock().unwrap();
        Ok(deferred.get(container.as_str()).cloned())
    }

    async fn forget_deferred(
        &self,
        _dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        self.deferred.lock().unwrap().remove(container.as_str());
        Ok(())
    }

    async fn record_undo(&self, _dir: &Path, undo: &Undo) -> Result<(), LedgerError> {
        self.undos
            .lock()
            .unwrap()
            .insert(undo.container_id.to_string(), undo.clone());
        Ok(())
    }

    async fn undos(&self, _dir: &Path) -> Result<Vec<Undo>, LedgerError> {
        Ok(self.undos.lock().unwrap().values().cloned().collect())
    }

    async fn list(&self, _dir: &Path) -> Result<Listing, LedgerError> {
        let recorded = self.recorded.lock().unwrap();
        Ok(Listing {
            entries: recorded.values().flatten().cloned().collect(),
            unreadable: Vec::new(),
        })
    }
}

pub struct FakePolicies(pub Arc<World>);

#[async_trait]
impl Policies for FakePolicies {
    fn begin(&self, _: Command, _: &Sandbox, _: Option<&Pod>) -> Box<dyn PolicySession> {
        Box::new(FakeSession(Arc::clone(&self.0)))
    }

    async fn status(&self) -> Result<(), Denial> {
        FakeSession(Arc::clone(&self.0)).ask("status", "")
    }

    async fn gc(&self, _: &[Attached]) {}
}

struct FakeSession(Arc<World>);

impl FakeSession {
    fn ask(&self, hook: &'static str, about: &str) -> Result<(), Denial> {
        let what = format!("deny {hook} {about}");
        if !self.0.fail.lock().unwrap().contains(what.trim_end()) {
            return Ok(());
        }
        Err(Denial {
            policy: "p".into(),
            hook,
            code: 150,
            message: "told to deny".into(),
            details: None,
        })
    }
}

#[async_trait]
impl PolicySession for FakeSession {
    async fn select(&mut self, selections: Vec<Selection>) -> Result<Vec<Selection>, Denial> {
        self.ask("select", "")?;
        Ok(selections)
    }

    async fn before_add(&mut self, attachment: Attachment) -> Result<Attachment, Denial> {
        self.ask("before-add", attachment.conf.name().as_str())?;
        Ok(attachment)
    }

    async fn settle(&mut self, _: &[Attachment]) -> Result<(), Denial> {
        self.ask("settle", "")
    }

    async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<Outcome, Denial> {
        let name = attachment.conf.name().as_str();
        self.0
            .told
            .lock()
            .unwrap()
            .push(format!("after-add {name}"));
        self.ask("after-add", name)?;
        Ok(Outcome {
            result,
            tags: BTreeMap::new(),
        })
    }

    async fn finalize(
        &mut self,
        _: &[Attachment],
        result: CniResult,
        shown: Vec<CniResult>,
    ) -> Result<Finale, Denial> {
        self.ask("finalize", "")?;
        let outcome = |result| Outcome {
            result,
            tags: BTreeMap::new(),
        };
        Ok(Finale {
            outcome: outcome(result),
            shown: shown.into_iter().map(outcome).collect(),
        })
    }

    async fn check(&mut self, entry: &Entry) -> Result<(), Denial> {
        self.ask("check", entry.conf.name().as_str())
    }

    async fn del(&mut self, _entry: &Entry) {}
}
