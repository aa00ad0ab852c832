//! Dynamic resource allocation (`resource.k8s.io/v1`), reduced to what identifies a pod's devices:
//! its claims, the claims' allocations, and the slices that describe the devices.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Device attribute: the id for delegates.
const DEVICE_ID_ATTRIBUTE: &str = "k8s.cni.cncf.io/deviceID";
/// Device attribute: the resource name that NADs refer to.
const RESOURCE_NAME_ATTRIBUTE: &str = "k8s.cni.cncf.io/resourceName";

/// A pod's claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodClaims {
    /// Names of claims in the pod's namespace, without duplicates.
    pub names: Vec<String>,
    /// The scheduler's claim for the extended resources of the pod's containers.
    pub extended: Option<Box<ExtendedClaim>>,
}

/// A claim for extended resources backed by dynamic allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtendedClaim {
    /// The claim's name.
    pub resource_claim_name: String,
    /// Maps the claim's requests to resources.
    #[serde(deserialize_with = "null_is_default")]
    pub request_mappings: Vec<RequestMapping>,
}

/// Maps one resource of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMapping {
    /// The extended resource.
    pub resource_name: String,
    /// The request in the claim.
    pub request_name: String,
}

/// The fields of a pod's `status` that concern claims.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodClaimsStatus {
    #[serde(deserialize_with = "null_is_default")]
    resource_claim_statuses: Vec<ClaimReference>,
    extended_resource_claim_status: Option<Box<ExtendedClaim>>,
}

/// A claim's name; only the status has it for a claim made from a template.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClaimReference {
    resource_claim_name: Option<String>,
}

impl PodClaims {
    /// Combines the claims named in the spec with those made from templates.
    pub(super) fn new(of_spec: Vec<ClaimReference>, status: PodClaimsStatus) -> Self {
        let references = of_spec.into_iter().chain(status.resource_claim_statuses);
        let mut names: Vec<String> = Vec::new();
        for name in references.filter_map(|reference| reference.resource_claim_name) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        Self {
            names,
            extended: status
                .extended_resource_claim_status
                .filter(|extended| !extended.resource_claim_name.is_empty()),
        }
    }

    /// Whether the pod has no claims.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.extended.is_none()
    }
}

/// A `ResourceClaim` and its allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceClaim {
    #[serde(deserialize_with = "null_is_default")]
    status: ClaimStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ClaimStatus {
    allocation: Option<ClaimAllocation>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ClaimAllocation {
    #[serde(deserialize_with = "null_is_default")]
    devices: ClaimDevices,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ClaimDevices {
    results: Option<Vec<AllocatedDevice>>,
}

/// A device in a claim's allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllocatedDevice {
    /// The claim's request that it satisfies.
    pub request: String,
    /// The device's driver.
    pub driver: String,
    /// The driver's pool with the device.
    pub pool: String,
    /// The device's name in the pool.
    pub device: String,
    /// Whether access is administrative, while another pod may use the device.
    admin_access: Option<bool>,
}

impl ResourceClaim {
    /// The devices that the pod may use; `None` if nothing is allocated yet.
    pub fn devices(&self) -> Option<impl Iterator<Item = &AllocatedDevice>> {
        let results = self.status.allocation.as_ref()?.devices.results.as_ref()?;
        let usable = |device: &&AllocatedDevice| device.admin_access != Some(true);
        Some(results.iter().filter(usable))
    }
}

/// A `ResourceSlice`: devices published by a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceSlice {
    /// The slice's `spec`.
    pub spec: SliceSpec,
}

/// `spec` of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceSpec {
    /// The publishing driver.
    pub driver: String,
    /// The only node that can use these devices; `None` if others can.
    pub node_name: Option<String>,
    /// The pool of the devices.
    pub pool: SlicePool,
    #[serde(deserialize_with = "null_is_default")]
    pub devices: Vec<PublishedDevice>,
}

/// The pool that a slice belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SlicePool {
    /// The pool's name.
    pub name: String,
    /// Incremented when the pool changes; slices of older generations are stale.
    pub generation: i64,
}

/// A device as published by its driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PublishedDevice {
    /// The device's name in the pool.
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    attributes: Attributes,
}

/// The two attributes that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Attributes {
    #[serde(rename = "k8s.cni.cncf.io/deviceID")]
    device_id: Option<Attribute>,
    #[serde(rename = "k8s.cni.cncf.io/resourceName")]
    resource_name: Option<Attribute>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Attribute {
    string: Option<String>,
}

impl PublishedDevice {
    fn device_id(&self) -> Option<&str> {
        text(self.attributes.device_id.as_ref())
    }

    fn resource_name(&self) -> Option<&str> {
        text(self.attributes.resource_name.as_ref())
    }
}

fn text(attribute: Option<&Attribute>) -> Option<&str> {
    attribute?.string.as_deref().filter(|text| !text.is_empty())
}

/// The network-related attributes of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// The device's id for delegates.
    pub device_id: Option<String>,
    /// The resource name that NADs refer to.
    pub resource_name: Option<String>,
    generation: i64,
}

impl Described {
    /// Resource and id, if the device has both.
    pub fn usable(&self) -> Option<(&str, &str)> {
        Some((self.resource_name.as_deref()?, self.device_id.as_deref()?))
    }

    /// The name of a missing attribute.
    pub fn missing(&self) -> Option<&'static str> {
        match (&self.device_id, &self.resource_name) {
            (None, _) => Some(DEVICE_ID_ATTRIBUTE),
            (_, None) => Some(RESOURCE_NAME_ATTRIBUTE),
            _ => None,
        }
    }
}

/// Devices of slices, by driver, pool and name.
#[derive(Debug, Default)]
pub struct Catalogue(BTreeMap<(String, String, String), Described>);

impl Catalogue {
    /// Adds the devices of a slice. For duplicates, the newest generation wins.
    pub fn add(&mut self, slice: ResourceSlice) {
        let SliceSpec {
            driver,
            pool,
            devices,
            ..
        } = slice.spec;
        for device in devices {
            let described = Described {
                device_id: device.device_id().map(ToOwned::to_owned),
                resource_name: device.resource_name().map(ToOwned::to_owned),
                generation: pool.generation,
            };
            let key = (driver.clone(), pool.name.clone(), device.name);
            let known = self.0.entry(key).or_insert_with(|| described.clone());
            if described.generation > known.generation {
                *known = described;
            }
        }
    }

    /// The attributes of a device; `None` if no slice has it.
    pub fn get(&self, device: &AllocatedDevice) -> Option<&Described> {
        let key = (
            device.driver.clone(),
            device.pool.clone(),
            device.device.clone(),
        );
        self.0.get(&key)
    }
}

pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::PodSpec;

    fn claims(spec: &str, status: &str) -> PodClaims {
        let spec: PodSpec = serde_json::from_str(spec).unwrap();
        let status = serde_json::from_str(status).unwrap();
        spec.split(status, Vec::new()).0
    }

    #[test]
    fn named_and_templated_claims_are_collected() {
        let claims = claims(
            r#"{"containers":[],"resourceClaims":[{"name":"a","resourceClaimName":"own"},{"name":"b","resourceClaimTemplateName":"t"}]}"#,
            r#"{"resourceClaimStatuses":[{"name":"b","resourceClaimName":"made"},{"name":"c"},{"name":"d","resourceClaimName":"own"}]}"#,
        );
        assert_eq!(claims.names, ["own", "made"]);
        assert!(!claims.is_empty());
    }

    #[test]
    fn a_pod_without_claims_has_none() {
        assert!(claims("{}", r#"{"resourceClaimStatuses":null}"#).is_empty());
    }

    #[test]
    fn admin_access_devices_are_excluded() {
        let claim: ResourceClaim = serde_json::from_str(
            r#"{"spec":{"devices":{}},"status":{"allocation":{"devices":{"results":[
                {"request":"vf","driver":"d","pool":"p","device":"0"},
                {"request":"look","driver":"d","pool":"p","device":"1","adminAccess":true}]}}}}"#,
        )
        .unwrap();
        let names: Vec<_> = claim.devices().unwrap().map(|d| &d.device).collect();
        assert_eq!(names, ["0"]);
        let waiting: ResourceClaim = serde_json::from_str(r#"{"status":null}"#).unwrap();
        assert!(waiting.devices().is_none());
    }

    fn slice(generation: i64, device_id: &str) -> ResourceSlice {
        serde_json::from_value(serde_json::json!({"spec": {
            "driver": "d", "nodeName": "n", "pool": {"name": "p", "generation": generation},
            "devices": [{"name": "0", "attributes": {
                "other/version": {"version": "1.0.0"},
                "k8s.cni.cncf.io/deviceID": {"string": device_id},
                "k8s.cni.cncf.io/resourceName": {"string": "a/x"},
            }}, {"name": "1", "attributes": {"k8s.cni.cncf.io/deviceID": {"int": 1}}}],
        }}))
        .unwrap()
    }

    #[test]
    fn newest_pool_generation_wins() {
        let mut catalogue = Catalogue::default();
        for (generation, id) in [(1, "old"), (3, "new"), (2, "older")] {
            catalogue.add(slice(generation, id));
        }
        let mut device = AllocatedDevice {
            driver: "d".into(),
            pool: "p".into(),
            device: "0".into(),
            ..AllocatedDevice::default()
        };
        let described = catalogue.get(&device).unwrap();
        assert_eq!(described.device_id.as_deref(), Some("new"));
        assert_eq!(described.missing(), None);
        device.device = "1".into();
        let described = catalogue.get(&device).unwrap();
        assert_eq!(described.missing(), Some(DEVICE_ID_ATTRIBUTE));
        device.pool = "q".into();
        assert_eq!(catalogue.get(&device), None);
    }
}
