//! Dynamic resource allocation (`resource.k8s.io/v1`), trimmed to what says which device of a node
//! a pod was given: what a pod claims, what a claim was allocated, what a slice tells of devices.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Attribute of a device: the id by which delegates know it.
const DEVICE_ID_ATTRIBUTE: &str = "k8s.cni.cncf.io/deviceID";
/// Attribute of a device: the resource by which network attachment definitions know it.
const RESOURCE_NAME_ATTRIBUTE: &str = "k8s.cni.cncf.io/resourceName";

/// What a pod claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodClaims {
    /// Names of claims in the pod's namespace, each once.
    pub names: Vec<String>,
    /// The claim that the scheduler made for the extended resources of its containers.
    pub extended: Option<Box<ExtendedClaim>>,
}

/// A claim for extended resources that are backed by dynamic allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtendedClaim {
    /// Name of the claim.
    pub resource_claim_name: String,
    /// Which request of the claim is for which resource.
    #[serde(deserialize_with = "null_is_default")]
    pub request_mappings: Vec<RequestMapping>,
}

/// One resource of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMapping {
    /// The extended resource.
    pub resource_name: String,
    /// The request of the claim.
    pub request_name: String,
}

/// The members of `spec` of a pod that tell of claims.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodClaimsSpec {
    #[serde(deserialize_with = "null_is_default")]
    resource_claims: Vec<ClaimReference>,
}

/// The members of `status` of a pod that tell of claims.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodClaimsStatus {
    #[serde(deserialize_with = "null_is_default")]
    resource_claim_statuses: Vec<ClaimReference>,
    extended_resource_claim_status: Option<Box<ExtendedClaim>>,
}

/// A claim by its own name; one that is made from a template has it in the status alone.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimReference {
    resource_claim_name: Option<String>,
}

impl PodClaims {
    /// What a pod claims by name, and what was made for it from templates.
    pub fn new(spec: PodClaimsSpec, status: PodClaimsStatus) -> Self {
        let references = spec
            .resource_claims
            .into_iter()
            .chain(status.resource_claim_statuses);
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

    /// Whether the pod claims nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.extended.is_none()
    }
}

/// A `ResourceClaim`: what was allocated to it.
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

/// A device as its claim names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllocatedDevice {
    /// The request of the claim that it is for.
    pub request: String,
    /// The driver that manages it.
    pub driver: String,
    /// The driver's pool that it is in.
    pub pool: String,
    /// Its name in the pool.
    pub device: String,
    /// Whether it is there to be looked after, while it is in use by somebody else.
    admin_access: Option<bool>,
}

impl ResourceClaim {
    /// The devices that the pod may use; `None` where nothing was allocated yet.
    pub fn devices(&self) -> Option<impl Iterator<Item = &AllocatedDevice>> {
        let results = self.status.allocation.as_ref()?.devices.results.as_ref()?;
        let usable = |device: &&AllocatedDevice| device.admin_access != Some(true);
        Some(results.iter().filter(usable))
    }
}

/// A `ResourceSlice`: devices that a driver publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceSlice {
    /// Its specification.
    pub spec: SliceSpec,
}

/// `spec` of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceSpec {
    /// The driver.
    pub driver: String,
    /// The node that alone can use these devices; none where others can.
    pub node_name: Option<String>,
    /// The pool.
    pub pool: SlicePool,
    /// The devices.
    #[serde(deserialize_with = "null_is_default")]
    pub devices: Vec<PublishedDevice>,
}

/// Which pool a slice is a part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SlicePool {
    /// Its name.
    pub name: String,
    /// Grows when the pool changes; what an older slice says is out of date.
    pub generation: i64,
}

/// A device as its driver publishes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PublishedDevice {
    /// Its name in the pool.
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    attributes: Attributes,
}

/// The two attributes that are kept of the many that a device may have.
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

/// What a driver says of a device that is for networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// The id by which delegates know it.
    pub device_id: Option<String>,
    /// The resource by which network attachment definitions know it.
    pub resource_name: Option<String>,
    generation: i64,
}

impl Described {
    /// Resource and id, where it has both.
    pub fn usable(&self) -> Option<(&str, &str)> {
        Some((self.resource_name.as_deref()?, self.device_id.as_deref()?))
    }

    /// What is missing of it, as the attribute is called.
    pub fn missing(&self) -> Option<&'static str> {
        match (&self.device_id, &self.resource_name) {
            (None, _) => Some(DEVICE_ID_ATTRIBUTE),
            (_, None) => Some(RESOURCE_NAME_ATTRIBUTE),
            _ => None,
        }
    }
}

/// The devices of some slices, by driver, pool and name.
#[derive(Debug, Default)]
pub struct Catalogue(BTreeMap<(String, String, String), Described>);

impl Catalogue {
    /// Adds the devices of a slice. Of a device that is in several, the newest one counts.
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

    /// What is said of a device; `None` where no slice has it.
    pub fn get(&self, device: &AllocatedDevice) -> Option<&Described> {
        let key = (
            device.driver.clone(),
            device.pool.clone(),
            device.device.clone(),
        );
        self.0.get(&key)
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(spec: &str, status: &str) -> PodClaims {
        PodClaims::new(
            serde_json::from_str(spec).unwrap(),
            serde_json::from_str(status).unwrap(),
        )
    }

    #[test]
    fn claims_are_those_that_the_pod_names_and_those_that_were_made_for_it() {
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
    fn a_claim_tells_what_was_allocated_and_may_be_used() {
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
    fn of_a_device_the_newest_generation_of_its_pool_counts() {
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
