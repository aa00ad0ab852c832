//! Dynamic resource allocation: which API calls a pod's devices take, with the installed roles.

use cnidaria_core::domain::resource_claim::Catalogue;
use cnidaria_core::ports::{Cluster, ClusterError, Reach};
use fake_api::Fault;
use serde_json::{Value, json};

use crate::rig::{self, LONG, NODE, Rig};

fn slice(name: &str, driver: &str, node: Option<&str>, device: &str) -> Value {
    let mut slice = json!({
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {
            "driver": driver,
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": device, "attributes": {
                "k8s.cni.cncf.io/deviceID": {"string": format!("id-of-{device}")},
                "k8s.cni.cncf.io/resourceName": {"string": "a/x"},
            }}],
        },
    });
    match node {
        Some(node) => slice["spec"]["nodeName"] = node.into(),
        None => slice["spec"]["allNodes"] = true.into(),
    }
    slice
}

fn claim(name: &str) -> Value {
    json!({
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
        "status": {"allocation": {"devices": {"results": [
            {"request": "r", "driver": "d", "pool": "p", "device": "0"},
        ]}}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_pod_come_from_the_watch() {
    let rig = Rig::new().await;
    let mut pod = rig::pod("a", NODE);
    pod["spec"]["resourceClaims"] = json!([
        {"name": "own", "resourceClaimName": "by-name"},
        {"name": "made", "resourceClaimTemplateName": "t"},
    ]);
    pod["status"]["resourceClaimStatuses"] =
        json!([{"name": "made", "resourceClaimName": "a-made-x7k2"}]);
    pod["status"]["extendedResourceClaimStatus"] = json!({
        "resourceClaimName": "a-extended",
        "requestMappings": [{"containerName": "c", "resourceName": "a/x", "requestName": "r"}],
    });
    let wanted = rig::reference(&rig.api.apply(pod));
    let kube = rig.warm().await;
    let claims = kube.pod(&wanted, LONG).await.unwrap().claims;
    assert_eq!(claims.names, ["by-name", "a-made-x7k2"]);
    let extended = claims.extended.unwrap();
    assert_eq!(extended.resource_claim_name, "a-extended");
    assert_eq!(extended.request_mappings[0].resource_name, "a/x");
    assert_eq!(rig.acts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_lookup_is_one_get_retried_on_503() {
    let rig = Rig::new().await;
    rig.api.apply(claim("c"));
    let kube = rig.warm().await;
    rig.api.inject([Fault::answer("get resourceclaims", 503)]);
    let claim = kube.resource_claim("default", "c").await.unwrap();
    let devices: Vec<_> = claim.devices().unwrap().collect();
    assert_eq!((&*devices[0].driver, &*devices[0].device), ("d", "0"));
    assert_eq!(rig.acts(), ["get resourceclaims", "get resourceclaims"]);
    for (namespace, name) in [("default", "gone"), ("default", "../pods/a"), ("", "c")] {
        let missing = kube.resource_claim(namespace, name).await;
        assert!(
            matches!(missing, Err(ClusterError::ClaimNotFound { .. })),
            "{missing:?}"
        );
    }
    assert_eq!(
        rig.acts(),
        ["get resourceclaims"],
        "a name with a slash never reaches a URL"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_are_filtered_by_driver_and_node() {
    let rig = Rig::new().await;
    for (name, driver, node) in [
        ("here", "d", Some(NODE)),
        ("there", "d", Some("node2")),
        ("other", "e", Some(NODE)),
        ("fabric", "d", None),
    ] {
        rig.api.apply(slice(name, driver, node, name));
    }
    let kube = rig.warm().await;
    for (reach, expected) in [(Reach::Node, "here"), (Reach::Nodes, "fabric")] {
        let slices = kube.resource_slices("d", reach).await.unwrap();
        let names: Vec<_> = slices
            .iter()
            .flat_map(|slice| &slice.spec.devices)
            .map(|device| &*device.name)
            .collect();
        assert_eq!(names, [expected], "{reach:?}");
        assert_eq!(rig.acts(), ["list resourceslices"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slices_are_read_in_pages() {
    let rig = Rig::new().await;
    for number in 0..101 {
        let name = format!("s{number:03}");
        rig.api.apply(slice(&name, "d", Some(NODE), &name));
    }
    let kube = rig.warm().await;
    let slices = kube.resource_slices("d", Reach::Node).await.unwrap();
    assert_eq!(slices.len(), 101);
    assert_eq!(rig.acts(), ["list resourceslices"; 3]);
    let mut catalogue = Catalogue::default();
    slices.into_iter().for_each(|slice| catalogue.add(slice));
    let last = serde_json::from_value(json!({"driver": "d", "pool": "p", "device": "s100"}));
    let described = catalogue.get(&last.unwrap()).unwrap();
    assert_eq!(described.usable(), Some(("a/x", "id-of-s100")));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_api_differs_from_missing_claim() {
    let rig = Rig::new().await;
    let kube = rig.warm().await;
    let error = kube.resource_claim("default", "c").await.unwrap_err();
    assert!(
        matches!(error, ClusterError::ClaimNotFound { .. }),
        "{error}"
    );
    for kind in ["ResourceClaim", "ResourceSlice"] {
        rig.api.set_served(kind, false);
    }
    let claim = kube.resource_claim("default", "c").await.unwrap_err();
    let slices = kube.resource_slices("d", Reach::Node).await.unwrap_err();
    for error in [claim, slices] {
        let text = error.to_string();
        assert!(text.contains("does not serve resource.k8s.io/v1"), "{text}");
    }
}
