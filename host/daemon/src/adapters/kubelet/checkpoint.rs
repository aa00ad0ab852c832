//! Reads the kubelet's checkpoint of device plugin allocations (`kubelet_internal_checkpoint`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

use cnidaria_core::domain::device::Allocation;
use files::Links;

/// The kubelet never writes a larger file.
const MAX_BYTES: u64 = 64 << 20;

/// Why the checkpoint gives no allocation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot be read")]
    Read(#[from] io::Error),
    #[error("is not a device checkpoint")]
    Format(#[from] serde_json::Error),
    /// The checkpoint identifies pods by uid only.
    #[error("cannot identify a pod without a uid")]
    NoUid,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    #[serde(default)]
    pod_device_entries: Option<Vec<Allocated>>,
}

#[derive(Deserialize)]
struct Allocated {
    #[serde(rename = "PodUID")]
    pod_uid: String,
    #[serde(rename = "ResourceName")]
    resource_name: String,
    #[serde(rename = "DeviceIDs", default)]
    device_ids: Option<DeviceIds>,
}

/// Kubelets before 1.20 wrote one list; newer ones write a list per NUMA node, -1 for devices
/// without one.
#[derive(Deserialize)]
#[serde(untagged)]
enum DeviceIds {
    List(Vec<String>),
    ByNode(BTreeMap<String, Option<Vec<String>>>),
}

impl DeviceIds {
    fn into_ids(self) -> Vec<String> {
        match self {
            Self::List(ids) => ids,
            Self::ByNode(nodes) => nodes.into_values().flatten().flatten().collect(),
        }
    }
}

/// The devices allocated to the pod with this uid.
pub(super) fn read(path: &Path, uid: &str) -> Result<Allocation, Error> {
    if uid.is_empty() {
        return Err(Error::NoUid);
    }
    allocation(&files::read(path, Links::Follow, MAX_BYTES)?, uid)
}

fn allocation(text: &[u8], uid: &str) -> Result<Allocation, Error> {
    let file: File = serde_json::from_slice(text)?;
    let mut allocation = Allocation::default();
    let entries = file.data.pod_device_entries.into_iter().flatten();
    for entry in entries.filter(|entry| entry.pod_uid == uid) {
        let ids = entry.device_ids.map(DeviceIds::into_ids);
        for id in ids.into_iter().flatten() {
            allocation.add_once(&entry.resource_name, id);
        }
    }
    Ok(allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnidaria_core::domain::device::Supply;

    /// All devices of `a/x` that pod `u` has.
    fn devices(entries: &str) -> Vec<String> {
        let text = format!(
            r#"{{"Data":{{"PodDeviceEntries":{entries},"RegisteredDevices":{{"a/x":["1"]}}}},"Checksum":1}}"#
        );
        let mut supply = Supply::from(allocation(text.as_bytes(), "u").unwrap());
        std::iter::from_fn(|| supply.take("a/x")).collect()
    }

    #[test]
    fn containers_and_numa_nodes_are_merged() {
        let entries = r#"[
            {"PodUID":"u","ContainerName":"b","ResourceName":"a/x","DeviceIDs":{"1":["5","3"],"0":["4"],"-1":null},"AllocResp":"Ci4="},
            {"PodUID":"v","ContainerName":"a","ResourceName":"a/x","DeviceIDs":{"0":["9"]},"AllocResp":""},
            {"PodUID":"u","ContainerName":"a","ResourceName":"a/x","DeviceIDs":["2","1"],"AllocResp":""},
            {"PodUID":"u","ContainerName":"a","ResourceName":"a/y","DeviceIDs":["7"],"AllocResp":""},
            {"PodUID":"u","ContainerName":"a","ResourceName":"a/x","DeviceIDs":null,"AllocResp":""}]"#;
        assert_eq!(devices(entries), ["1", "2", "3", "4", "5"]);
    }

    #[test]
    fn init_containers_device_counts_once() {
        let entries = r#"[
            {"PodUID":"u","ContainerName":"init","ResourceName":"a/x","DeviceIDs":{"0":["1"]}},
            {"PodUID":"u","ContainerName":"main","ResourceName":"a/x","DeviceIDs":{"0":["1"]}}]"#;
        assert_eq!(devices(entries), ["1"]);
    }

    #[test]
    fn null_entries_mean_no_devices() {
        assert_eq!(devices("null"), Vec::<String>::new());
    }

    #[test]
    fn a_malformed_checkpoint_is_an_error() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"Data":{"PodDeviceEntries":[{"PodUID":"u","ResourceName":"a/x","DeviceIDs":7}]}}"#,
        ] {
            assert!(allocation(text.as_bytes(), "u").is_err(), "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path(), "u"), Err(Error::Read(_))));
        assert!(matches!(read(dir.path(), ""), Err(Error::NoUid)));
    }
}
