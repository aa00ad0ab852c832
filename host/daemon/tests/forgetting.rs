//! Undoing and forgetting single interfaces of a running pod, on fakes of every port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cni_types::args::{ContainerId, IfName};
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::pipeline::{Error, Pipeline};
use cnidaria_core::ports::{PendingUndo, Undo};
use shim_api::deferred::NetnsId;
use support::{DIR, World, body};

fn unplug(if_name: &str, network: &str) -> Vec<u8> {
    let env = [
        ("CNI_COMMAND", "DEL"),
        ("CNI_CONTAINERID", "cid-a"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", if_name),
        (
            "CNI_ARGS",
            "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_UID=uid-a",
        ),
    ];
    shim_api::Request {
        env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        config: format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"t"}}"#).into_bytes(),
        interface_attributes: None,
    }
    .to_json()
}

/// A pod with three networks, where unplugging those in `stuck` failed.
async fn with_stuck(world: &Arc<World>, stuck: &[(&str, &str)]) -> Arc<Pipeline> {
    world.pod("a", "one,two");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    for (if_name, network) in stuck {
        world.fail(&format!("del {network}"));
        let unplugged = pipeline.hotplug(&unplug(if_name, network)).await;
        unplugged.unwrap_err();
    }
    pipeline
}

async fn retry(pipeline: &Arc<Pipeline>) {
    tokio::select! {
        () = pipeline.finish_undos(Path::new(DIR)) => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
}

fn recorded(world: &World) -> Vec<String> {
    let recorded = world.recorded.lock().unwrap();
    let entries = recorded.get("cid-a").into_iter().flatten();
    entries.map(|entry| entry.if_name.to_string()).collect()
}

fn pending(pipeline: &Pipeline) -> Vec<String> {
    let undos = pipeline.undos(Path::new(DIR));
    let names = undos.iter().flat_map(|undo| undo.if_names());
    names.map(ToString::to_string).collect()
}

async fn forget(pipeline: &Arc<Pipeline>, if_name: Option<&str>) -> Result<Vec<String>, Error> {
    let container = ContainerId::new("cid-a").unwrap();
    let if_name = if_name.map(|name| IfName::new(name).unwrap());
    let forgotten = pipeline.forget(Path::new(DIR), &container, if_name.as_ref());
    let names = forgotten.await?.into_iter();
    Ok(names.map(|entry| entry.if_name.to_string()).collect())
}

#[tokio::test(start_paused = true)]
async fn an_undo_outlives_that_of_another_interface() {
    let world = World::new();
    let pipeline = with_stuck(&world, &[("net2", "two")]).await;
    pipeline.hotplug(&unplug("net1", "one")).await.unwrap();
    assert_eq!(pending(&pipeline), ["net2"]);
    assert_eq!(recorded(&world), ["eth0", "net2"]);
    world.mend();
    retry(&pipeline).await;
    assert_eq!(recorded(&world), ["eth0"], "the pod runs");
    // A daemon that starts now finds nothing to retry, whatever is plugged later.
    assert!(world.undos.lock().unwrap().is_empty());
    assert!(pending(&pipeline).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_ledger_widens_no_undo() {
    let world = World::new();
    let pipeline = with_stuck(&world, &[("net2", "two")]).await;
    world.mend();
    world.fail("load");
    retry(&pipeline).await;
    assert_eq!(pending(&pipeline), ["net2"]);
    assert!(world.undos.lock().unwrap()["cid-a"].retries > 1);
    world.mend();
    tokio::time::sleep(Duration::from_secs(300)).await;
    retry(&pipeline).await;
    assert_eq!(recorded(&world), ["eth0", "net1"]);
}

#[tokio::test(start_paused = true)]
async fn one_interface_is_forgotten_alone() {
    let world = World::new();
    let pipeline = with_stuck(&world, &[("net1", "one"), ("net2", "two")]).await;
    world.log();
    assert_eq!(forget(&pipeline, Some("net1")).await.unwrap(), ["net1"]);
    let done = world.log();
    assert!(
        done.iter().all(|done| !done.starts_with("del ")),
        "{done:?}"
    );
    let event = "event UndoGivenUp: interface net1";
    assert!(done.iter().any(|done| done.starts_with(event)), "{done:?}");
    assert_eq!(pending(&pipeline), ["net2"]);
    assert_eq!(recorded(&world), ["eth0", "net2"]);
    let error = forget(&pipeline, Some("net1")).await.unwrap_err();
    assert!(matches!(error, Error::NotAttached(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_default_network_stays_forgotten() {
    for is_restarted in [false, true] {
        let world = World::new();
        let mut pipeline = with_stuck(&world, &[]).await;
        assert_eq!(forget(&pipeline, Some("eth0")).await.unwrap(), ["eth0"]);
        if is_restarted {
            pipeline = world.pipeline();
        }
        world.log();
        for _ in 0..2 {
            pipeline.handle(&body("DEL", "a")).await.unwrap();
        }
        let mut log = world.log();
        log.retain(|done| done.starts_with("del "));
        assert_eq!(log, ["del two", "del one"], "restarted: {is_restarted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_sandbox_is_not_retried() {
    let world = World::new();
    let pipeline = with_stuck(&world, &[("net2", "two")]).await;
    assert_eq!(
        forget(&pipeline, None).await.unwrap(),
        ["eth0", "net1", "net2"]
    );
    assert!(pending(&pipeline).is_empty() && recorded(&world).is_empty());
    assert!(world.undos.lock().unwrap().is_empty());
    let error = forget(&pipeline, None).await.unwrap_err();
    assert!(matches!(error, Error::NotAttached(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_pod_outlives_the_daemon() {
    let world = World::new();
    let pipeline = with_stuck(&world, &[]).await;
    forget(&pipeline, None).await.unwrap();
    let next = world.pipeline();
    next.begin(Path::new(DIR)).await;
    world.log();
    for _ in 0..2 {
        next.handle(&body("DEL", "a")).await.unwrap();
    }
    assert!(world.log().is_empty(), "no plugin runs");
    // Once it is attached again, it is a container like others.
    next.handle(&body("ADD", "a")).await.unwrap();
    assert!(world.forgotten.lock().unwrap().is_empty());
    world.recorded.lock().unwrap().clear();
    world.log();
    next.handle(&body("DEL", "a")).await.unwrap();
    assert!(world.log().contains(&"del default".to_owned()));
}

/// A pod to undo completely: a policy panicked in its ADD, or its file was damaged.
async fn with_everything_stuck(world: &Arc<World>) -> Arc<Pipeline> {
    world.pod("a", "one,two");
    let pipeline = world.pipeline();
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    world.pods.lock().unwrap().clear();
    world.fail("load");
    pipeline.handle(&body("DEL", "a")).await.unwrap_err();
    world.mend();
    let undos = pipeline.undos(Path::new(DIR));
    assert!(undos.iter().all(|undo| undo.attachments.is_empty()));
    pipeline
}

#[tokio::test(start_paused = true)]
async fn an_undo_of_all_outlives_that_of_one_interface() {
    for verb in ["forget", "unplug"] {
        let world = World::new();
        let pipeline = with_everything_stuck(&world).await;
        match verb {
            "forget" => drop(forget(&pipeline, Some("net1")).await.unwrap()),
            _ => drop(pipeline.hotplug(&unplug("net1", "one")).await.unwrap()),
        }
        assert_eq!(pending(&pipeline), ["eth0", "net2"], "{verb}");
        retry(&pipeline).await;
        assert!(recorded(&world).is_empty(), "{verb}");
    }
}

/// An undo that a killed daemon left of an earlier attachment of `cid-a`.
fn left(attachments: Vec<PendingUndo>) -> Undo {
    Undo {
        container_id: ContainerId::new("cid-a").unwrap(),
        reason: "x".to_owned(),
        retries: 1,
        since: 1,
        bin_dirs: Vec::new(),
        attachments,
    }
}

fn of_interface(if_name: &str, network: &str, namespace: Option<Namespace>) -> PendingUndo {
    PendingUndo {
        if_name: IfName::new(if_name).unwrap(),
        network: network.to_owned(),
        namespace,
        timed_out: false,
        reason: "x".to_owned(),
        attempts: 1,
        since: 1,
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_not_of_the_next_attachment() {
    let earlier = Namespace {
        boot_id: "this".to_owned(),
        file: NetnsId::at(Path::new("/")).unwrap(),
        cookie: Some(7),
        added_at: None,
    };
    for attachments in [
        vec![of_interface("net1", "default/one", Some(earlier))],
        vec![of_interface("eth0", "default", None)],
        vec![
            of_interface("eth0", "", None),
            of_interface("net1", "default/two", None),
        ],
        Vec::new(),
    ] {
        let world = World::new();
        world.pod("a", "one");
        world.pipeline().handle(&body("ADD", "a")).await.unwrap();
        let undo = left(attachments);
        world.undos.lock().unwrap().insert("cid-a".to_owned(), undo);
        world.log();
        let next = world.pipeline();
        next.begin(Path::new(DIR)).await;
        retry(&next).await;
        let log = world.log();
        assert!(!log.iter().any(|done| done.starts_with("del")), "{log:?}");
        assert_eq!(recorded(&world), ["eth0", "net1"]);
        assert!(world.undos.lock().unwrap().is_empty());
        next.handle(&body("CHECK", "a")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_without_an_identity_is_retried() {
    let world = World::new();
    world.pod("a", "one");
    world.pipeline().handle(&body("ADD", "a")).await.unwrap();
    world.fail("netns gone");
    for attachments in [vec![of_interface("net1", "default/one", None)], Vec::new()] {
        let undo = left(attachments);
        world.undos.lock().unwrap().insert("cid-a".to_owned(), undo);
        let next = world.pipeline();
        next.begin(Path::new(DIR)).await;
        retry(&next).await;
    }
    assert!(recorded(&world).is_empty());
}
