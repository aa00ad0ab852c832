//! The cluster of a simulated node: objects in memory, devices from the case.

use std::time::Duration;

use async_trait::async_trait;
use cnidaria_core::domain::device::Allocation;
use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{Pod, PodRef};
use cnidaria_core::ports::{Cluster, ClusterError, DeviceInfo, Devices, DevicesError, Event};
use serde_json::value::RawValue;

use super::World;

#[async_trait]
impl Cluster for World {
    async fn pod(&self, wanted: &PodRef, _: Duration) -> Result<Pod, ClusterError> {
        let found = self.objects.pod(&wanted.namespace, &wanted.name);
        found
            .cloned()
            .ok_or_else(|| ClusterError::PodNotFound(wanted.clone()))
    }

    async fn nad(&self, namespace: &str, name: &str) -> Result<Nad, ClusterError> {
        self.remembered_nad(namespace, name)
            .ok_or_else(|| ClusterError::NadNotFound {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
    }

    async fn set_network_status(&self, pod: &PodRef, status: &str) -> Result<(), ClusterError> {
        self.statuses
            .lock()
            .insert(pod.to_string(), status.to_owned());
        Ok(())
    }

    fn remembered_nad(&self, namespace: &str, name: &str) -> Option<Nad> {
        self.objects.nad(namespace, name).cloned()
    }

    fn namespace(&self, name: &str) -> Option<Metadata> {
        self.objects.namespace(name).cloned()
    }

    fn node(&self, name: &str) -> Option<Metadata> {
        self.objects.node(name).cloned()
    }

    fn event(&self, _: &PodRef, _: Event) {}

    fn ready(&self) -> Result<(), ClusterError> {
        Ok(())
    }
}

#[async_trait]
impl Devices for World {
    async fn allocated(&self, pod: &PodRef) -> Result<Allocation, DevicesError> {
        let mut allocation = Allocation::default();
        for (resource, id) in self.objects.devices(&pod.namespace, &pod.name) {
            allocation.add(resource, id);
        }
        Ok(allocation)
    }
}

#[async_trait]
impl DeviceInfo for World {
    fn path(&self, name: &str) -> String {
        format!(
            "/var/run/k8s.cni.cncf.io/devinfo/cni/{}",
            name.replace('/', "-")
        )
    }

    async fn read(&self, _: &str) -> Option<Box<RawValue>> {
        None
    }
}
