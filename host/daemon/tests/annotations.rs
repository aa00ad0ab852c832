//! Annotations with values that have no effect, on fakes of every port: the ADD succeeds, and the
//! pod's owner gets an Event.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use cnidaria_core::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION};
use support::{World, body};

/// The Events of a successful ADD of a pod with this annotation.
async fn events(annotation: &str, value: &str) -> Vec<String> {
    let world = World::new();
    let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"t","capabilities":{"ips":true}}"#;
    {
        let mut nads = world.nads.lock().unwrap();
        nads.insert("default/takes-ips".into(), conf.into());
        let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"t"}"#;
        nads.insert("kube-system/own".into(), conf.into());
    }
    world.pod("a", "");
    if let Some(pod) = world.pods.lock().unwrap().get_mut("a") {
        let annotations = &mut pod.annotations;
        annotations.insert(annotation.into(), value.into());
    }
    let added = world.pipeline().handle(&body("ADD", "a")).await;
    assert!(added.is_ok(), "{value}: {added:?}");
    let log = world.log().into_iter();
    log.filter_map(|line| Some(line.strip_prefix("event ")?.to_owned()))
        .collect()
}

#[tokio::test]
async fn blank_annotations_and_elements_are_skipped() {
    for (annotation, value) in [
        (NETWORKS_ANNOTATION, "one,two,"),
        (NETWORKS_ANNOTATION, "one,,two"),
        (NETWORKS_ANNOTATION, "  "),
        (NETWORKS_ANNOTATION, " , "),
        (DEFAULT_NETWORK_ANNOTATION, ""),
        (DEFAULT_NETWORK_ANNOTATION, "  "),
        (DEFAULT_NETWORK_ANNOTATION, "own,"),
    ] {
        assert!(events(annotation, value).await.is_empty(), "{value:?}");
    }
}

#[tokio::test]
async fn unknown_members_are_ignored_with_an_event() {
    let annotation = r#"[{"name":"one","Interface":"a0"},{"name":"two","interfac":"b0","ip":[]}]"#;
    assert_eq!(
        events(NETWORKS_ANNOTATION, annotation).await,
        [
            r#"UnknownMember: annotation k8s.v1.cni.cncf.io/networks: element 2 (two): unknown member "interfac", did you mean "interface"?; element 2 (two): unknown member "ip", did you mean "ips"?"#
        ]
    );
    let annotation = r#"[{"name":"own","namepsace":"x"}]"#;
    assert_eq!(
        events(DEFAULT_NETWORK_ANNOTATION, annotation).await,
        [
            r#"UnknownMember: annotation v1.multus-cni.io/default-network: element 1 (own): unknown member "namepsace", did you mean "namespace"?"#
        ]
    );
}

#[tokio::test]
async fn a_misspelt_annotation_has_an_event() {
    assert_eq!(
        events("k8s.v1.cni.cncf.io/network", "one").await,
        [
            r#"UnknownAnnotation: annotation k8s.v1.cni.cncf.io/network is unknown, did you mean "k8s.v1.cni.cncf.io/networks"?"#
        ]
    );
}

#[tokio::test]
async fn a_pod_has_few_events_of_ignored_requests() {
    let element = r#"{"name":"one","bandwidth":{"ingressRate":1},"a":1,"b":1}"#;
    let annotation = format!("[{}]", vec![element; 20].join(","));
    let events = events(NETWORKS_ANNOTATION, &annotation).await;
    let ignored = |event: &&String| event.starts_with("RequestIgnored");
    assert_eq!(events.iter().filter(ignored).count(), 5);
    assert_eq!(events.len(), 6);
    assert!(events[0].ends_with("; and 35 more"), "{}", events[0]);
}

#[tokio::test]
async fn requests_that_no_plugin_takes_have_events() {
    let two = r#""ips":["10.0.0.7/24","fd00::7/64"]"#;
    for (wish, expected) in [
        (format!(r#""name":"one",{two}"#), vec!["ips"]),
        (format!(r#""name":"takes-ips",{two}"#), vec![]),
        (r#""name":"one","ips":["10.0.0.7/24"]"#.into(), vec![]),
        (r#""name":"one","mac":"02:00:00:00:00:07""#.into(), vec![]),
        (
            r#""name":"takes-ips","bandwidth":{"ingressRate":1},"portMappings":[{"hostPort":1}]"#
                .into(),
            vec!["portMappings", "bandwidth"],
        ),
    ] {
        let events = events(NETWORKS_ANNOTATION, &format!("[{{{wish}}}]")).await;
        assert_eq!(events.len(), expected.len(), "{wish}: {events:?}");
        for (event, capability) in events.iter().zip(expected) {
            assert!(event.starts_with("RequestIgnored: net1"), "{event}");
            let named = format!("declares the capability {capability:?}");
            assert!(event.ends_with(&named), "{event}");
        }
    }
}
