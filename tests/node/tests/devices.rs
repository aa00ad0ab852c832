//! Devices from the kubelet to the delegate and to network-status: the real daemon, a fake kubelet
//! that serves pod resources over gRPC, and delegates that record their input.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is missing fails the test"
)]

use std::fs;

use fake_kubelet::FakeKubelet;
use node::case::on_a_private_node;
use node::inspect;
use node::{Node, Pod, networks};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const POD: (&str, &str) = ("default", "a");
const PCI: &str = r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:af:06.0"}}"#;

/// A node with the networks `vf` (a conf) and `chain` (a conflist of two plugins), each needing a
/// device of `example.com/vf`. Their delegates record their input.
fn prepare(node: &mut Node) {
    networks::prepare(node).unwrap();
    let (socket, checkpoint) = (node.path("kubelet.sock"), node.path("checkpoint"));
    let devinfo = node.path("devinfo");
    if let Some(Value::Object(own)) = node.config.get_mut("cnidaria") {
        let kubelet = json!({ "podResourcesSocket": socket, "deviceCheckpoint": checkpoint });
        own.insert("kubelet".to_owned(), kubelet);
        own.insert("deviceInfoDir".to_owned(), json!(devinfo));
    }
    for name in ["vf", "first", "second"] {
        fs::create_dir_all(node.path(&format!("calls/{name}"))).unwrap();
    }
    let plugin = |name: &str| {
        let mut conf = networks::fake(
            name,
            &json!({ "record": node.path(&format!("calls/{name}")) }),
        );
        conf["capabilities"] = json!({ "deviceID": true, "CNIDeviceInfoFile": true });
        conf
    };
    let chain = json!({
        "cniVersion": "1.0.0", "name": "chain", "plugins": [plugin("first"), plugin("second")],
    });
    add_network(node, "vf", &plugin("vf"));
    add_network(node, "chain", &chain);
}

fn add_network(node: &Node, name: &str, conf: &Value) {
    let manifest = json!({
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "namespace": "default", "name": name,
            "annotations": { "k8s.v1.cni.cncf.io/resourceName": "example.com/vf" },
        },
        "spec": { "config": conf.to_string() },
    });
    let file = format!("manifests/nad-{name}.json");
    node.write(&file, manifest.to_string()).unwrap();
}

/// A delegate's standard input in its latest call of a verb.
fn given(node: &Node, name: &str, verb: &str) -> Value {
    let calls = node.path(&format!("calls/{name}"));
    let mut files: Vec<_> = fs::read_dir(calls)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(&format!("-{verb}.json")))
        .collect();
    files.sort();
    let text = fs::read_to_string(files.last().unwrap()).unwrap();
    let call: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap()
}

fn assert_given(node: &Node, name: &str, verb: &str, device: &str, info: &str) {
    let given = given(node, name, verb);
    assert_eq!(given["deviceID"], device, "{name} {verb}: {given:#}");
    assert_eq!(given["pciBusID"], device, "{name} {verb}: {given:#}");
    let info = node.path("devinfo/cni").join(info);
    let expected = json!({ "deviceID": device, "CNIDeviceInfoFile": info });
    assert_eq!(given["runtimeConfig"], expected, "{name} {verb}");
}

#[test]
fn kubelet_device_reaches_delegates() {
    on_a_private_node(|node| {
        prepare(node);
        node.write("devinfo/dp/example.com-vf-0000:af:06.0-device.json", PCI)
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let kubelet = FakeKubelet::start(&node.path("kubelet.sock")).unwrap();
        kubelet.allocate(POD, "second", "example.com/vf", &["0000:af:06.1"]);
        kubelet.allocate(POD, "first", "example.com/vf", &["0000:af:06.0"]);
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("vf,chain"))
            .unwrap();
        let answer = node.call("ADD", &pod).unwrap().make().unwrap();
        assert_eq!(answer.code, Some(0), "{answer:#?}");
        assert_eq!(kubelet.take_calls(), ["Get"]);
        let vf = format!("default-vf-{}_net1", pod.container_id);
        let chain = format!("default-chain-{}_net2", pod.container_id);
        assert_given(node, "vf", "ADD", "0000:af:06.0", &vf);
        assert_given(node, "first", "ADD", "0000:af:06.1", &chain);
        assert_given(node, "second", "ADD", "0000:af:06.1", &chain);
        let status = node.network_status(&pod.pod).unwrap();
        let said: Value = serde_json::from_str(PCI).unwrap();
        assert_eq!(status[1]["device-info"], said, "{status:#}");
        assert!(status[2].get("device-info").is_none(), "{status:#}");
        let copied = fs::read_to_string(node.path("devinfo/cni").join(&vf)).unwrap();
        assert_eq!(copied, PCI);

        drop(kubelet);
        fs::remove_dir_all(node.path("manifests")).unwrap();
        fs::create_dir(node.path("manifests")).unwrap();
        let answer = node.call("DEL", &pod).unwrap().make().unwrap();
        assert_eq!(answer.code, Some(0), "{answer:#?}");
        assert_given(node, "vf", "DEL", "0000:af:06.0", &vf);
        assert_given(node, "first", "DEL", "0000:af:06.1", &chain);
        let left = inspect::files(&node.path("devinfo/cni")).unwrap();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn checkpoint_replaces_unreachable_kubelet() {
    on_a_private_node(|node| {
        prepare(node);
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("vf"))
            .unwrap();
        let answer = node.call("ADD", &pod).unwrap().make().unwrap();
        assert_eq!(answer.code, Some(1));
        let error = answer.json().unwrap();
        assert_eq!(error["code"], 11, "{error:#}");
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains("kubelet.sock"), "{message}");
        let files = inspect::files(&node.path("ledger")).unwrap();
        assert!(files.is_empty(), "{files:?}");

        let checkpoint = json!({ "Data": { "PodDeviceEntries": [{
            "PodUID": pod.pod.uid, "ContainerName": "c", "ResourceName": "example.com/vf",
            "DeviceIDs": { "-1": ["/dev/vhost"] }, "AllocResp": "",
        }], "RegisteredDevices": {} }, "Checksum": 0 });
        node.write("checkpoint", checkpoint.to_string()).unwrap();
        let answer = node.call("ADD", &pod).unwrap().make().unwrap();
        assert_eq!(answer.code, Some(0), "{answer:#?}");
        let info = format!("default-vf-{}_net1", pod.container_id);
        assert_given(node, "vf", "ADD", "/dev/vhost", &info);
    });
}
