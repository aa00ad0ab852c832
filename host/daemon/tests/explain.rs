//! Explanations, on fakes of every port: they are what the ADD does, and change nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod};
use cnidaria_core::pipeline::Origin;
use cnidaria_core::ports::Ledger;
use support::{World, body};

/// What the delegates of an entry are given.
fn given(entry: &Entry) -> [String; 5] {
    [
        entry.network.clone(),
        entry.if_name.to_string(),
        entry.conf.text().to_owned(),
        entry.cni_args.to_string(),
        entry.capability_args.to_string(),
    ]
}

#[tokio::test]
async fn an_explanation_is_what_the_add_does() {
    for networks in [
        "",
        "one",
        "one,two@a0,one",
        r#"[{"name":"one","ips":["10.0.0.7/24"],"mac":"0a:00:00:00:00:07"},{"name":"three"}]"#,
        r#"[{"name":"two","cni-args":{"x":1},"bandwidth":{"ingressRate":1000}}]"#,
    ] {
        let world = World::new();
        let edited = r#"{"cniVersion":"1.0.0","name":"one","type":"t","mtu":1400}"#;
        world
            .edits
            .lock()
            .unwrap()
            .insert("one".into(), edited.into());
        world.pod("a", networks);
        let pipeline = world.pipeline();
        let explained = pipeline.explain(&body("ADD", "a"), None).await.unwrap();
        assert!(explained.refusal.is_none(), "{networks}");
        pipeline.handle(&body("ADD", "a")).await.unwrap();
        let recorded = world.recorded.lock().unwrap()["cid-a"].clone();
        let networks: Vec<_> = explained
            .networks
            .iter()
            .map(|one| given(&one.entry))
            .collect();
        assert_eq!(networks, recorded.iter().map(given).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn members_that_the_add_ignores_are_named() {
    let world = World::new();
    world.pod("a", r#"[{"name":"one","ipps":[]}]"#);
    let pipeline = world.pipeline();
    let explained = pipeline.explain(&body("ADD", "a"), None).await.unwrap();
    let [ignored] = &explained.ignored[..] else {
        panic!("{:?}", explained.ignored);
    };
    assert!(ignored.contains("\"ipps\""), "{ignored}");
}

#[tokio::test]
async fn a_refusal_is_that_of_the_add() {
    let cases: [(&str, &str); 5] = [
        ("missing", ""),
        ("one@eth0", ""),
        ("[{", ""),
        ("one", "deny select"),
        ("one", "deny before-add one"),
    ];
    for (networks, failing) in cases {
        let world = World::new();
        world.pod("a", networks);
        world.fail(failing);
        let pipeline = world.pipeline();
        let explained = pipeline.explain(&body("ADD", "a"), None).await.unwrap();
        let refusal = explained.refusal.unwrap();
        let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
        assert_eq!(refusal.to_string(), error.to_string());
    }
}

#[tokio::test]
async fn explaining_changes_nothing() {
    for networks in [
        "one,two",
        "missing",
        r#"[{"name":"one","typo":1,"bandwidth":{"ingressRate":1}}]"#,
    ] {
        let world = World::new();
        world.pod("a", networks);
        world
            .pipeline()
            .explain(&body("ADD", "a"), None)
            .await
            .unwrap();
        let log = world.log();
        let changes = |line: &&String| {
            let reads = ["pod ", "nad ", "look ", "load ", "list"];
            !reads.iter().any(|read| line.starts_with(read))
        };
        assert_eq!(log.iter().find(changes), None, "{log:?}");
        assert!(world.recorded.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn each_network_shows_its_origin() {
    let world = World::new();
    let conf = r#"{"cniVersion":"1.0.0","name":"own","type":"t"}"#;
    world
        .nads
        .lock()
        .unwrap()
        .insert("kube-system/own".into(), conf.into());
    let annotations = [
        (DEFAULT_NETWORK_ANNOTATION, "own"),
        (NETWORKS_ANNOTATION, "two,one"),
    ];
    let pod = Pod {
        namespace: "default".into(),
        name: "new".into(),
        annotations: annotations
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        ..Pod::default()
    };
    // The cluster does not have the pod.
    let pipeline = world.pipeline();
    let explained = pipeline
        .explain(&body("ADD", "new"), Some(pod))
        .await
        .unwrap();
    let origins: Vec<_> = explained
        .networks
        .into_iter()
        .map(|one| one.origin)
        .collect();
    assert_eq!(
        origins,
        [
            Origin::Annotation(DEFAULT_NETWORK_ANNOTATION, 1),
            Origin::Annotation(NETWORKS_ANNOTATION, 1),
            Origin::Annotation(NETWORKS_ANNOTATION, 2),
        ]
    );
}

#[tokio::test]
async fn origins_follow_what_policies_do() {
    let origins = async |edits: &[(&str, &str)]| {
        let world = World::new();
        world.pod("a", "three,one");
        for (what, how) in edits {
            let mut known = world.edits.lock().unwrap();
            known.insert((*what).into(), (*how).into());
        }
        let conf =
            r#"{"clusterNetwork":"one","defaultNetworks":["two"],"multusNamespace":"default"}"#;
        let ledger = Arc::clone(&world) as Arc<dyn Ledger>;
        let pipeline = world.pipeline_with(ledger, RawObject::parse(conf).unwrap());
        let explained = pipeline.explain(&body("ADD", "a"), None).await.unwrap();
        assert!(explained.refusal.is_none(), "{:?}", explained.refusal);
        let networks = explained.networks.into_iter();
        networks.map(|one| one.origin).collect::<Vec<_>>()
    };
    let (cluster, node) = (
        Origin::Conf("clusterNetwork"),
        Origin::Conf("defaultNetworks"),
    );
    let first = Origin::Annotation(NETWORKS_ANNOTATION, 1);
    let second = Origin::Annotation(NETWORKS_ANNOTATION, 2);
    assert_eq!(
        origins(&[]).await,
        [&cluster, &node, &first, &second].map(Clone::clone)
    );
    assert_eq!(
        origins(&[("select", "drop two")]).await,
        [&cluster, &first, &second].map(Clone::clone)
    );
    assert_eq!(
        origins(&[("three", "skip")]).await,
        [&cluster, &node, &second].map(Clone::clone)
    );
    assert_eq!(
        origins(&[("select", "default three")]).await,
        [&Origin::Policy, &node, &first, &second].map(Clone::clone)
    );
    assert_eq!(
        origins(&[("select", "insert three")]).await,
        [&cluster, &Origin::Policy, &node, &first, &second].map(Clone::clone)
    );
}

#[tokio::test]
async fn only_an_add_is_explained() {
    let world = World::new();
    world.pod("a", "one");
    for verb in ["DEL", "CHECK"] {
        world
            .pipeline()
            .explain(&body(verb, "a"), None)
            .await
            .unwrap_err();
    }
}
