//! Which attachment gets which device, on fakes of every port.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

mod support;

use cnidaria_core::domain::pod::Pod;
use cnidaria_core::domain::resource_claim::PodClaims;
use daemon::response;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use support::{World, body};

/// A node whose networks `one` and `two` need devices of `a/x`.
fn world(networks: &str) -> Arc<World> {
    let world = World::new();
    world.pod("a", networks);
    for network in ["one", "two"] {
        let mut resources = world.resources.lock().unwrap();
        resources.insert(network.into(), "a/x".into());
    }
    world
}

fn allocate(world: &World, devices: &[(&'static str, &'static str)]) {
    *world.allocated.lock().unwrap() = devices.to_vec();
}

/// Adds the pod and returns each attachment's interface, device in the conf, and `deviceID`.
async fn add(world: &Arc<World>) -> Vec<(String, Option<String>, Option<String>)> {
    world.pipeline().handle(&body("ADD", "a")).await.unwrap();
    let recorded = world.recorded.lock().unwrap();
    let devices = recorded["cid-a"].iter().map(|entry| {
        let conf: Option<String> = entry.conf.raw().get_as("deviceID").unwrap();
        let bus: Option<String> = entry.conf.raw().get_as("pciBusID").unwrap();
        assert_eq!(conf, bus);
        let argument = entry.capability_args.get_as("deviceID").unwrap();
        (entry.if_name.to_string(), conf, argument)
    });
    devices.collect()
}

/// An attachment with a device in its conf and arguments.
fn with(if_name: &str, id: &str) -> (String, Option<String>, Option<String>) {
    (if_name.into(), Some(id.into()), Some(id.into()))
}

/// An attachment without a device.
fn without(if_name: &str) -> (String, Option<String>, Option<String>) {
    (if_name.into(), None, None)
}

async fn refused(world: &Arc<World>) -> (u32, String) {
    let error = world.pipeline().handle(&body("ADD", "a")).await;
    let error = response::cni_error(&error.unwrap_err());
    (error.code, error.to_string())
}

#[tokio::test]
async fn unneeded_devices_are_not_looked_up() {
    let world = world("one");
    world.resources.lock().unwrap().clear();
    assert_eq!(add(&world).await, [without("eth0"), without("net1")]);
    let log = world.log();
    assert!(!log.iter().any(|did| did.starts_with("devices")), "{log:?}");
}

#[tokio::test]
async fn devices_are_taken_in_annotation_order() {
    let world = world("two,one,two");
    allocate(
        &world,
        &[("a/x", "3"), ("a/x", "1"), ("a/y", "0"), ("a/x", "2")],
    );
    assert_eq!(
        add(&world).await,
        [
            without("eth0"),
            with("net1", "1"),
            with("net2", "2"),
            with("net3", "3")
        ]
    );
    let asked = world.log();
    let asked: Vec<_> = asked
        .iter()
        .filter(|did| did.starts_with("devices"))
        .collect();
    assert_eq!(asked, ["devices a uid-a"], "once for all of them");
}

#[tokio::test]
async fn each_resource_is_counted_for_itself() {
    let world = world("one,two");
    world
        .resources
        .lock()
        .unwrap()
        .insert("two".into(), "a/y".into());
    allocate(&world, &[("a/y", "9"), ("a/x", "5")]);
    assert_eq!(
        add(&world).await,
        [without("eth0"), with("net1", "5"), with("net2", "9")]
    );
}

#[tokio::test]
async fn attachment_goes_without_exhausted_device() {
    let world = world("one,two");
    allocate(&world, &[("a/x", "1")]);
    assert_eq!(
        add(&world).await,
        [without("eth0"), with("net1", "1"), without("net2")]
    );
}

#[tokio::test]
async fn kubelet_device_overrides_the_annotation() {
    let world = world(r#"[{"name":"one","deviceID":"wish"},{"name":"two","deviceID":"wish"}]"#);
    allocate(&world, &[("a/x", "1")]);
    // The annotation's device is passed as an argument, not in the conf.
    let wish = ("net2".to_owned(), None, Some("wish".to_owned()));
    assert_eq!(
        add(&world).await,
        [without("eth0"), with("net1", "1"), wish]
    );
}

#[tokio::test]
async fn pods_default_network_takes_first_device() {
    let world = world("two");
    let default = (
        "v1.multus-cni.io/default-network".into(),
        "default/one".into(),
    );
    let by_annotation = |pods: &mut HashMap<String, Pod>| {
        pods.get_mut("a").unwrap().annotations.extend([default]);
    };
    by_annotation(&mut world.pods.lock().unwrap());
    allocate(&world, &[("a/x", "1"), ("a/x", "2")]);
    let default = ("eth0".to_owned(), Some("1".to_owned()), None);
    assert_eq!(add(&world).await, [default, with("net1", "2")]);
}

#[tokio::test]
async fn failed_device_lookup_asks_for_a_retry() {
    let world = world("one");
    world.fail("devices a uid-a");
    let (code, message) = refused(&world).await;
    assert_eq!(code, 11);
    for part in ["default/a", "default/one", "a/x", "/socket", "/checkpoint"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(world.recorded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_plugin_of_a_list_gets_the_device() {
    let world = world("one");
    world.nads.lock().unwrap().insert(
        "default/one".into(),
        r#"{"cniVersion":"1.0.0","name":"one","plugins":[{"type":"a","big":12345678901234567890},{"type":"b","x":1.50}]}"#.into(),
    );
    allocate(&world, &[("a/x", "1")]);
    add(&world).await;
    let recorded = world.recorded.lock().unwrap();
    assert_eq!(
        recorded["cid-a"][1].conf.text(),
        r#"{"cniVersion":"1.0.0","name":"one","plugins":[{"type":"a","big":12345678901234567890,"deviceID":"1","pciBusID":"1"},{"type":"b","x":1.50,"deviceID":"1","pciBusID":"1"}]}"#
    );
}

/// The device-info path that an attachment's delegates get.
fn told_path(world: &World, position: usize) -> Option<String> {
    world.recorded.lock().unwrap()["cid-a"][position].device_info_file()
}

#[tokio::test]
async fn network_status_shows_device_info() {
    let world = world("one,two");
    allocate(&world, &[("a/x", "1")]);
    let said = r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:02.2"}}"#;
    let path = "/devinfo/default-one-cid-a_net1";
    world
        .device_info
        .lock()
        .unwrap()
        .insert(path.into(), said.into());
    add(&world).await;
    assert_eq!(told_path(&world, 1).as_deref(), Some(path));
    assert_eq!(
        told_path(&world, 2),
        None,
        "neither a device nor the capability"
    );
    let statuses = world.statuses.lock().unwrap();
    let status: Value = serde_json::from_str(&statuses[0]).unwrap();
    assert_eq!(
        status[1]["device-info"].to_string(),
        serde_json::from_str::<Value>(said).unwrap().to_string()
    );
    assert!(statuses[0].contains(said), "byte for byte: {}", statuses[0]);
    assert!(status[0].get("device-info").is_none());
    assert!(status[2].get("device-info").is_none());
}

#[tokio::test]
async fn device_info_capability_passes_the_path() {
    let world = World::new();
    world.pod("a", "one");
    world.nads.lock().unwrap().insert(
        "default/one".into(),
        r#"{"cniVersion":"1.0.0","name":"one","type":"userspace","capabilities":{"CNIDeviceInfoFile":true}}"#.into(),
    );
    add(&world).await;
    assert_eq!(
        told_path(&world, 1).as_deref(),
        Some("/devinfo/default-one-cid-a_net1")
    );
}

/// A claim with these allocated devices: request, driver, pool and name.
fn claim(devices: &[(&str, &str, &str, &str)]) -> Value {
    let results: Vec<Value> = devices
        .iter()
        .map(|(request, driver, pool, device)| {
            json!({"request": request, "driver": driver, "pool": pool, "device": device})
        })
        .collect();
    json!({"status": {"allocation": {"devices": {"results": results}}}})
}

/// A slice of the node with devices: name, id and resource. Empty values are omitted.
fn slice(driver: &str, pool: &str, devices: &[(&str, &str, &str)]) -> Value {
    let devices: Vec<Value> = devices
        .iter()
        .map(|(name, id, resource)| {
            let mut attributes = json!({"driver/index": {"int": 1}});
            for (key, value) in [("deviceID", id), ("resourceName", resource)] {
                if !value.is_empty() {
                    attributes[format!("k8s.cni.cncf.io/{key}")] = json!({"string": value});
                }
            }
            json!({"name": name, "attributes": attributes})
        })
        .collect();
    json!({"spec": {"driver": driver, "nodeName": "n", "pool": {"name": pool, "generation": 1}, "devices": devices}})
}

fn claims(world: &World, names: &[&str], extended: Value) {
    let extended = serde_json::from_value(extended).unwrap();
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let mut pods = world.pods.lock().unwrap();
    pods.get_mut("a").unwrap().claims = PodClaims { names, extended };
}

fn add_claim(world: &World, name: &str, claim: Value) {
    world.claims.lock().unwrap().insert(name.into(), claim);
}

fn dynamic(world: &World) -> Vec<String> {
    let log = world.log();
    let of = |did: &String| did.starts_with("claim") || did.starts_with("slices");
    log.into_iter().filter(of).collect()
}

#[tokio::test]
async fn claim_and_plugin_devices_are_merged() {
    let world = world("one,two,one");
    allocate(&world, &[("a/x", "2")]);
    claims(&world, &["first", "second"], Value::Null);
    add_claim(
        &world,
        "first",
        claim(&[("r", "d", "p", "dev-3"), ("r", "d", "p", "gpu")]),
    );
    add_claim(&world, "second", claim(&[("r", "d", "p", "dev-1")]));
    let devices = [
        ("dev-3", "3", "a/x"),
        ("gpu", "", ""),
        ("dev-1", "1", "a/x"),
    ];
    world.slices.lock().unwrap().push(slice("d", "p", &devices));
    assert_eq!(
        add(&world).await,
        [
            without("eth0"),
            with("net1", "1"),
            with("net2", "2"),
            with("net3", "3")
        ]
    );
    assert_eq!(
        dynamic(&world),
        ["claim first", "slices d Node", "claim second"]
    );
}

#[tokio::test]
async fn unneeded_claims_are_not_looked_up() {
    let world = world("one");
    world.resources.lock().unwrap().clear();
    claims(&world, &["gone"], Value::Null);
    add(&world).await;
    assert_eq!(dynamic(&world), Vec::<String>::new());
}

#[tokio::test]
async fn multi_node_device_is_found_in_its_own_pool() {
    let world = world("one");
    claims(&world, &["c"], Value::Null);
    add_claim(&world, "c", claim(&[("r", "d", "fabric", "0")]));
    let mut fabric = slice("d", "fabric", &[("0", "right", "a/x")]);
    fabric["spec"].as_object_mut().unwrap().remove("nodeName");
    let local = slice("d", "local", &[("0", "wrong", "a/x")]);
    world.slices.lock().unwrap().extend([local, fabric]);
    assert_eq!(add(&world).await, [without("eth0"), with("net1", "right")]);
    assert_eq!(
        dynamic(&world),
        ["claim c", "slices d Node", "slices d Nodes"]
    );
}

#[tokio::test]
async fn non_network_devices_are_skipped() {
    let world = world("one");
    allocate(&world, &[("a/x", "1")]);
    claims(&world, &["c"], Value::Null);
    add_claim(
        &world,
        "c",
        claim(&[
            ("r", "d", "p", "no-id"),
            ("r", "d", "p", "no-name"),
            ("r", "d", "p", "unpublished"),
            ("r", "d", "p", "neither"),
        ]),
    );
    let devices = [("no-id", "", "a/x"), ("no-name", "0", "")];
    world.slices.lock().unwrap().push(slice("d", "p", &devices));
    assert_eq!(add(&world).await, [without("eth0"), with("net1", "1")]);
    assert_eq!(
        dynamic(&world),
        ["claim c", "slices d Node", "slices d Nodes"]
    );
}

fn mapping(resource: &str, request: &str) -> Value {
    json!({"containerName": "c", "resourceName": resource, "requestName": request})
}

#[tokio::test]
async fn pod_status_maps_extended_resources() {
    let world = world("one,two");
    let mappings = [
        mapping("a/x", "r0"),
        mapping("a/x", "r1"),
        mapping("a/gpu", "r2"),
    ];
    claims(
        &world,
        &[],
        json!({"resourceClaimName": "ext", "requestMappings": mappings}),
    );
    let devices = [
        ("r1", "d", "p", "vf1"),
        ("r0", "d", "p", "vf0"),
        ("r2", "d", "p", "gpu"),
    ];
    add_claim(&world, "ext", claim(&devices));
    // A device that no network needs requires no attributes.
    let published = [("vf0", "0", "a/x"), ("vf1", "1", "a/x"), ("gpu", "", "")];
    world
        .slices
        .lock()
        .unwrap()
        .push(slice("d", "p", &published));
    assert_eq!(
        add(&world).await,
        [without("eth0"), with("net1", "0"), with("net2", "1")]
    );
}

#[tokio::test]
async fn mismatched_extended_resource_is_an_error() {
    for (published, request, expected) in [
        (
            ("vf", "0", "a/other"),
            "r0",
            r#"its slice describes "a/other""#,
        ),
        (
            ("vf", "0", ""),
            "r0",
            "no attribute k8s.cni.cncf.io/resourceName",
        ),
        (
            ("vf", "", "a/x"),
            "r0",
            "no attribute k8s.cni.cncf.io/deviceID",
        ),
        (("another", "0", "a/x"), "r0", "is in no resource slice"),
        (("vf", "0", "a/x"), "r9", r#"no device for request "r9""#),
    ] {
        let world = world("one");
        let mappings = [mapping("a/x", request)];
        claims(
            &world,
            &[],
            json!({"resourceClaimName": "ext", "requestMappings": mappings}),
        );
        add_claim(&world, "ext", claim(&[("r0", "d", "p", "vf")]));
        world
            .slices
            .lock()
            .unwrap()
            .push(slice("d", "p", &[published]));
        let (code, message) = refused(&world).await;
        assert_eq!(code, 7, "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn missing_or_pending_claim_asks_for_a_retry() {
    let world = world("one");
    claims(&world, &["c"], Value::Null);
    let (code, message) = refused(&world).await;
    assert_eq!(code, 11);
    assert!(
        message.contains("resource claim default/c not found"),
        "{message}"
    );
    add_claim(&world, "c", json!({"spec": {}, "status": {}}));
    let (code, message) = refused(&world).await;
    assert_eq!(code, 11);
    assert!(message.contains("has no allocation"), "{message}");
}

#[tokio::test]
async fn a_resource_name_that_cannot_be_is_refused() {
    for resource in ["../../x", "a b", &"x".repeat(318)] {
        let world = World::new();
        {
            let mut resources = world.resources.lock().unwrap();
            resources.insert("one".into(), resource.to_owned());
        }
        world.pod("a", "one");
        let answer = world.pipeline().handle(&body("ADD", "a")).await;
        let error = response::cni_error(&answer.unwrap_err());
        assert_eq!(error.code, 7, "{error}");
        assert!(error.to_string().contains("resourceName"), "{error}");
        assert_eq!(world.log(), ["pod a"], "nothing was begun");
    }
}
