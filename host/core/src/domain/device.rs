//! Devices allocated to a pod's containers, and their assignment to attachments.

use std::collections::{BTreeMap, VecDeque};

/// A pod's devices, by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation(BTreeMap<String, Vec<String>>);

impl Allocation {
    /// Adds a device.
    pub fn add(&mut self, resource: &str, device_id: impl Into<String>) {
        let devices = self.0.entry(resource.to_owned()).or_default();
        devices.push(device_id.into());
    }

    /// Adds a device unless it is already listed: init containers pass their devices on to later
    /// containers and still list them.
    pub fn add_once(&mut self, resource: &str, device_id: impl Into<String>) {
        let device_id = device_id.into();
        let devices = self.0.entry(resource.to_owned()).or_default();
        if !devices.contains(&device_id) {
            devices.push(device_id);
        }
    }
}

/// The devices not yet assigned to an attachment.
#[derive(Debug, Default)]
pub struct Supply(BTreeMap<String, VecDeque<String>>);

impl Supply {
    /// Takes the next device of a resource.
    pub fn take(&mut self, resource: &str) -> Option<String> {
        self.0.get_mut(resource)?.pop_front()
    }
}

impl From<Allocation> for Supply {
    /// Sorts each resource's devices by id, regardless of containers and reporting order, as Multus
    /// and other readers of the same pod do.
    fn from(Allocation(allocation): Allocation) -> Self {
        let sorted = allocation.into_iter().map(|(resource, mut devices)| {
            devices.sort();
            (resource, devices.into())
        });
        Self(sorted.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_supplies_devices_in_id_order() {
        let mut allocation = Allocation::default();
        for (resource, id) in [
            ("a/x", "0:10"),
            ("a/y", "0:1"),
            ("a/x", "0:02"),
            ("a/x", "0:1"),
        ] {
            allocation.add(resource, id);
        }
        let mut supply = Supply::from(allocation);
        let mut take = |resource| supply.take(resource);
        assert_eq!(take("a/x").as_deref(), Some("0:02"));
        assert_eq!(take("a/y").as_deref(), Some("0:1"));
        assert_eq!(take("a/x").as_deref(), Some("0:1"));
        assert_eq!(take("a/x").as_deref(), Some("0:10"));
        assert_eq!(take("a/x"), None);
        assert_eq!(take("a/z"), None);
    }

    #[test]
    fn shared_device_is_supplied_once() {
        let mut allocation = Allocation::default();
        allocation.add_once("a/x", "1");
        allocation.add_once("a/x", "1");
        let mut supply = Supply::from(allocation);
        assert_eq!(supply.take("a/x").as_deref(), Some("1"));
        assert_eq!(supply.take("a/x"), None);
    }
}
