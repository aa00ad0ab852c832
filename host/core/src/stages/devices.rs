//! Assigns devices to attachments. If a NAD names a resource, each attachment to it takes the next
//! device of that resource allocated to the pod, by the kubelet (device plugins) or by the
//! scheduler (dynamic resource allocation). Nothing is queried if no network names a resource.

use std::collections::{BTreeMap, BTreeSet};

use cni_types::conf::{self, NetworkConfList, PluginConf};

use super::network_lookup::Network;
use crate::domain::attachment::Device;
use crate::domain::device::{Allocation, Supply};
use crate::domain::pod::{Pod, PodRef};
use crate::domain::resource_claim::{
    AllocatedDevice, Catalogue, Described, ExtendedClaim, ResourceClaim,
};
use crate::ports::{Cluster, ClusterError, Devices, DevicesError, Reach};

/// Why no device could be assigned to an attachment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubelet did not answer.
    #[error(transparent)]
    Kubelet(#[from] DevicesError),
    /// The cluster returned no usable answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The scheduler has not allocated the claim yet.
    #[error("resource claim {namespace}/{name} has no allocation")]
    NotAllocated {
        /// The pod's namespace.
        namespace: String,
        /// The claim's name.
        name: String,
    },
    /// The claim for extended resources lacks a device that the pod's status lists.
    #[error("resource claim {claim} has no device for request {request:?}")]
    NoDevice {
        /// The claim's name.
        claim: String,
        /// The claim's request without a device.
        request: String,
    },
    /// A device of an extended resource is not described as belonging to that resource.
    #[error("device {device} of driver {driver:?} in pool {pool:?} {reason}")]
    Undescribed {
        /// The device's name.
        device: String,
        /// The device's driver.
        driver: String,
        /// The device's pool.
        pool: String,
        /// What is missing or wrong in the driver's description.
        reason: String,
    },
    /// The device's id cannot be set in the conf.
    #[error("conf")]
    Conf(#[source] conf::Error),
}

/// Assigns devices to the networks that need one, in order. `pod_ref` identifies the pod to this
/// node's kubelet.
///
/// # Errors
/// [`Error`], with the position of the network. An exhausted resource is not an error: as in
/// Multus, the attachment then has no device, and its delegate decides what to do.
pub async fn assign(
    networks: Vec<&mut Network>,
    pod: &Pod,
    pod_ref: &PodRef,
    devices: &dyn Devices,
    cluster: &dyn Cluster,
) -> Result<(), (usize, Error)> {
    let mut available = None;
    for (position, network) in networks.into_iter().enumerate() {
        let Some(resource) = &network.resource_name else {
            continue;
        };
        let at_position = |error| (position, error);
        let available = match &mut available {
            Some(available) => available,
            None => {
                let found = Available::of(pod, pod_ref, devices, cluster).await;
                available.insert(found.map_err(at_position)?)
            }
        };
        let Some(id) = available.take(resource).map_err(at_position)? else {
            tracing::warn!(pod = %pod_ref, network = network.name, resource, "the pod has more attachments of this resource than devices; attaching without one");
            continue;
        };
        network.conf = with_device(&network.conf, &id)
            .map_err(Error::Conf)
            .map_err(at_position)?;
        network.device = Some(Device {
            resource_name: resource.clone(),
            id,
        });
    }
    Ok(())
}

/// Adds the device's id to every plugin of the conf, under both keys in use.
fn with_device(conf: &NetworkConfList, id: &str) -> Result<NetworkConfList, conf::Error> {
    let plugins = conf.plugins().iter().map(|plugin| {
        let mut raw = plugin.raw().clone();
        for key in ["deviceID", "pciBusID"] {
            raw.set(key, id).map_err(conf::Error::Json)?;
        }
        PluginConf::from_raw(raw)
    });
    conf.with_plugins(plugins.collect::<Result<_, _>>()?)
}

/// The pod's devices that are not assigned yet.
struct Available {
    supply: Supply,
    /// Resources with unusable devices. An error only for networks that need the resource.
    broken: BTreeMap<String, Error>,
}

impl Available {
    async fn of(
        pod: &Pod,
        pod_ref: &PodRef,
        devices: &dyn Devices,
        cluster: &dyn Cluster,
    ) -> Result<Self, Error> {
        let allocation = devices.allocated(pod_ref).await?;
        let mut claimed = Claimed {
            pod,
            cluster,
            catalogue: Catalogue::default(),
            read: BTreeSet::new(),
            allocation,
            broken: BTreeMap::new(),
        };
        if !pod.claims.is_empty() {
            claimed.add_claims().await?;
        }
        Ok(Self {
            supply: claimed.allocation.into(),
            broken: claimed.broken,
        })
    }

    fn take(&mut self, resource: &str) -> Result<Option<String>, Error> {
        match self.broken.remove(resource) {
            Some(error) => Err(error),
            None => Ok(self.supply.take(resource)),
        }
    }
}

/// Collects the devices of a pod's claims.
struct Claimed<'a> {
    pod: &'a Pod,
    cluster: &'a dyn Cluster,
    catalogue: Catalogue,
    /// The drivers whose slices are already in the catalogue.
    read: BTreeSet<(String, Reach)>,
    allocation: Allocation,
    broken: BTreeMap<String, Error>,
}

impl Claimed<'_> {
    async fn add_claims(&mut self) -> Result<(), Error> {
        let claims = &self.pod.claims;
        for name in &claims.names {
            let claim = self.claim(name).await?;
            for device in self.devices(&claim, name)? {
                self.add(device).await?;
            }
        }
        match &claims.extended {
            Some(extended) => self.add_extended(extended).await,
            None => Ok(()),
        }
    }

    async fn claim(&self, name: &str) -> Result<ResourceClaim, Error> {
        let namespace = &self.pod.namespace;
        Ok(self.cluster.resource_claim(namespace, name).await?)
    }

    fn devices<'c>(
        &self,
        claim: &'c ResourceClaim,
        name: &str,
    ) -> Result<Vec<&'c AllocatedDevice>, Error> {
        let devices = claim.devices().ok_or_else(|| Error::NotAllocated {
            namespace: self.pod.namespace.clone(),
            name: name.to_owned(),
        })?;
        Ok(devices.collect())
    }

    /// Adds a claim's device; skips devices that are not for networks.
    async fn add(&mut self, device: &AllocatedDevice) -> Result<(), Error> {
        let described = self.describe(device).await?;
        match described.as_ref().and_then(Described::usable) {
            Some((resource, id)) => self.allocation.add(resource, id),
            None => tracing::debug!(
                pod = %self.pod.reference(),
                driver = device.driver,
                pool = device.pool,
                device = device.device,
                "skipping an allocated device that is not for networks"
            ),
        }
        Ok(())
    }

    /// Adds the devices of an extended resource. The pod's status names the resource of each
    /// device; the driver must agree.
    async fn add_extended(&mut self, extended: &ExtendedClaim) -> Result<(), Error> {
        let name = &extended.resource_claim_name;
        let claim = self.claim(name).await?;
        let devices = self.devices(&claim, name)?;
        for mapping in &extended.request_mappings {
            let resource = &mapping.resource_name;
            let of_request: Vec<&AllocatedDevice> = devices
                .iter()
                .filter(|device| device.request == mapping.request_name)
                .copied()
                .collect();
            if of_request.is_empty() {
                let error = Error::NoDevice {
                    claim: name.clone(),
                    request: mapping.request_name.clone(),
                };
                self.broken.insert(resource.clone(), error);
            }
            for device in of_request {
                let described = self.describe(device).await?;
                match named(resource, described.as_ref()) {
                    Ok(id) => self.allocation.add(resource, id),
                    Err(reason) => {
                        let error = Error::Undescribed {
                            device: device.device.clone(),
                            driver: device.driver.clone(),
                            pool: device.pool.clone(),
                            reason,
                        };
                        self.broken.insert(resource.clone(), error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The driver's description of a device. Reads the slices of this node before those of several
    /// nodes, and each at most once.
    async fn describe(&mut self, device: &AllocatedDevice) -> Result<Option<Described>, Error> {
        for reach in [Reach::Node, Reach::Nodes] {
            if let Some(described) = self.catalogue.get(device) {
                return Ok(Some(described.clone()));
            }
            if self.read.insert((device.driver.clone(), reach)) {
                let slices = self.cluster.resource_slices(&device.driver, reach).await?;
                slices
                    .into_iter()
                    .for_each(|slice| self.catalogue.add(slice));
            }
        }
        Ok(self.catalogue.get(device).cloned())
    }
}

/// The id of a device, which must belong to `resource`.
fn named<'d>(resource: &str, described: Option<&'d Described>) -> Result<&'d str, String> {
    let Some(described) = described else {
        return Err("is in no resource slice".to_owned());
    };
    match described.usable() {
        Some((actual, id)) if actual == resource => Ok(id),
        Some((actual, _)) => Err(format!(
            "stands for {resource:?}, but its slice describes {actual:?}"
        )),
        None => Err(format!(
            "stands for {resource:?} and has no attribute {}",
            described.missing().unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected(conf: &str) -> String {
        let conf = NetworkConfList::parse_any(conf).unwrap();
        with_device(&conf, "0000:af:06.1")
            .unwrap()
            .text()
            .to_owned()
    }

    #[test]
    fn conf_gets_device_id_under_both_keys() {
        assert_eq!(
            injected(
                r#"{"cniVersion":"1.0.0","name":"n","type":"sriov","big":12345678901234567890}"#
            ),
            r#"{"cniVersion":"1.0.0","name":"n","type":"sriov","big":12345678901234567890,"deviceID":"0000:af:06.1","pciBusID":"0000:af:06.1"}"#
        );
    }

    #[test]
    fn every_plugin_gets_the_device_id() {
        assert_eq!(
            injected(
                r#"{"name":"n","z":1.50,"plugins":[{"deviceID":"old","type":"a","e":1e3},{"type":"b"}]}"#
            ),
            r#"{"name":"n","z":1.50,"plugins":[{"deviceID":"0000:af:06.1","type":"a","e":1e3,"pciBusID":"0000:af:06.1"},{"type":"b","deviceID":"0000:af:06.1","pciBusID":"0000:af:06.1"}]}"#
        );
    }

    #[test]
    fn a_device_id_with_quotes_is_escaped() {
        let conf = NetworkConfList::parse_any(r#"{"name":"n","type":"a"}"#).unwrap();
        let conf = with_device(&conf, "\"},{\n").unwrap();
        assert_eq!(
            conf.text(),
            r#"{"name":"n","type":"a","deviceID":"\"},{\n","pciBusID":"\"},{\n"}"#
        );
    }
}
