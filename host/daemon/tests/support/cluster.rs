//! Fakes of the cluster, the kubelet and device descriptions, as a test has filled them.

use std::time::Duration;

use async_trait::async_trait;
use cnidaria_core::domain::device::Allocation;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{Pod, PodRef};
use cnidaria_core::domain::resource_claim::{ResourceClaim, ResourceSlice};
use cnidaria_core::ports::{
    Cluster, ClusterError, DeviceInfo, Devices, DevicesError, Event, EventKind, Reach,
};
use serde_json::value::RawValue;

use super::World;

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
                    ..Nad::default()
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
