//! DELs recorded while the daemon was down, on fakes of every port.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use cnidaria_core::pipeline::{Error, Pipeline};
use shim_api::deferred::Record;
use support::{DIR, World, body, gc_body};

/// Adds a pod, and records its DEL as if the daemon had been down.
async fn deleted_unheard() -> (Arc<World>, Arc<Pipeline>) {
    let (world, pipeline) = World::with_pod("a", "one").await;
    let request = shim_api::Request::parse(&body("DEL", "a")).unwrap();
    world.defer("cid-a", Record::of(request).to_json());
    world.log();
    (world, pipeline)
}

fn nothing_is_left(world: &World) {
    assert!(world.recorded.lock().unwrap().is_empty());
    assert!(world.deferred.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_next_daemon_carries_it_out() {
    let (world, pipeline) = deleted_unheard().await;
    pipeline.finish_deferred(Path::new(DIR), false).await;
    assert_eq!(world.log(), ["del one", "del default", "forget"]);
    nothing_is_left(&world);
}

#[tokio::test]
async fn an_add_of_the_same_container_comes_after_it() {
    let (world, pipeline) = deleted_unheard().await;
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    let log = world.log();
    assert_eq!(log[..3], ["del one", "del default", "forget"]);
    assert!(log.contains(&"add one".to_owned()));
    assert!(world.deferred.lock().unwrap().is_empty());
    // Finishing recorded DELs later must not harm the new attachments.
    pipeline.finish_deferred(Path::new(DIR), false).await;
    assert!(world.log().is_empty());
}

#[tokio::test]
async fn an_add_fails_while_it_cannot_be_carried_out() {
    let (world, pipeline) = deleted_unheard().await;
    world.fail("del one");
    pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    assert!(!world.log().contains(&"add one".to_owned()));
    assert!(!world.deferred.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_del_that_comes_again_does_it_instead() {
    let (world, pipeline) = deleted_unheard().await;
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    nothing_is_left(&world);
}

#[tokio::test]
async fn a_check_of_a_deleted_container_fails() {
    let (_, pipeline) = deleted_unheard().await;
    let checked = pipeline.handle(&body("CHECK", "a")).await;
    assert!(matches!(checked, Err(Error::NotAttached(_))));
}

#[tokio::test]
async fn gc_carries_it_out_whatever_it_says_is_in_use() {
    let (world, pipeline) = deleted_unheard().await;
    pipeline.handle(&gc_body(None)).await.unwrap();
    nothing_is_left(&world);
}

#[tokio::test(start_paused = true)]
async fn failed_deferred_del_is_retried_until_done() {
    let (world, pipeline) = deleted_unheard().await;
    world.fail("del one");
    pipeline.finish_deferred(Path::new(DIR), false).await;
    assert!(world.undos.lock().unwrap().contains_key("cid-a"));
    assert!(!world.deferred.lock().unwrap().is_empty());
    world.mend();
    tokio::select! {
        () = pipeline.finish_undos(Path::new(DIR)) => unreachable!("it never ends"),
        () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
    }
    nothing_is_left(&world);
    assert!(world.undos.lock().unwrap().is_empty());
}

/// The record of a DEL of pod `a` for an interface.
fn record_for(if_name: &str) -> Vec<u8> {
    let mut request = shim_api::Request::parse(&body("DEL", "a")).unwrap();
    request.env.insert("CNI_IFNAME".into(), if_name.into());
    Record::of(request).to_json()
}

#[tokio::test]
async fn a_record_for_another_interface_undoes_nothing() {
    // A shim of before named the file by the container alone.
    for name in ["cid-a:eth1", "cid-a"] {
        for text in [record_for("eth1"), b"{".to_vec()] {
            if name == "cid-a" && text == b"{" {
                continue;
            }
            let (world, pipeline) = deleted_unheard().await;
            world.deferred.lock().unwrap().clear();
            world.defer(name, text);
            pipeline.finish_deferred(Path::new(DIR), false).await;
            assert!(world.log().is_empty(), "{name}");
            assert!(world.recorded.lock().unwrap().contains_key("cid-a"));
            assert!(world.deferred.lock().unwrap().is_empty());
            pipeline.handle(&body("CHECK", "a")).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_record_ends_no_retry() {
    let (world, pipeline) = deleted_unheard().await;
    world.deferred.lock().unwrap().clear();
    world.fail("netns gone");
    world.fail("del one");
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    world.mend();
    world.fail("netns gone");
    world.defer("cid-a:eth1", record_for("eth1"));
    tokio::select! {
        () = pipeline.finish_undos(Path::new(DIR)) => unreachable!("it never ends"),
        () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
    }
    nothing_is_left(&world);
}

#[tokio::test]
async fn each_interface_has_its_own_record() {
    let (world, pipeline) = deleted_unheard().await;
    world.defer("cid-a:eth1", record_for("eth1"));
    pipeline.finish_deferred(Path::new(DIR), false).await;
    assert_eq!(world.log(), ["del one", "del default", "forget"]);
    nothing_is_left(&world);
}

#[tokio::test]
async fn a_check_ignores_records_of_other_interfaces() {
    let (world, pipeline) = deleted_unheard().await;
    world.deferred.lock().unwrap().clear();
    world.defer("cid-a:eth1", record_for("eth1"));
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
}

#[tokio::test]
async fn of_a_damaged_record_the_name_is_enough() {
    for text in ["", "{", r#"{"bootId":"","netns":null,"request":{}}"#] {
        let (world, pipeline) = deleted_unheard().await;
        world.defer("cid-a", text.as_bytes().to_vec());
        pipeline.finish_deferred(Path::new(DIR), false).await;
        nothing_is_left(&world);
    }
}

#[tokio::test]
async fn misnamed_deferred_record_is_not_executed() {
    let (world, pipeline) = deleted_unheard().await;
    let record = world.deferred.lock().unwrap().remove("cid-a").unwrap();
    world.defer("cid-b", record);
    pipeline.finish_deferred(Path::new(DIR), false).await;
    assert!(world.recorded.lock().unwrap().contains_key("cid-a"));
}

#[tokio::test]
async fn a_namespace_of_before_a_reboot_is_not_entered() {
    // The fakes' file of the pod's namespace.
    let netns = "/";
    for (boot_id, expected) in [(None, netns), (Some("before"), "")] {
        let (world, pipeline) = deleted_unheard().await;
        let mut request = shim_api::Request::parse(&body("DEL", "a")).unwrap();
        request.env.insert("CNI_NETNS".into(), netns.into());
        let mut record = Record::of(request);
        record.boot_id = boot_id.map_or(record.boot_id, str::to_owned);
        for entry in world.recorded.lock().unwrap().get_mut("cid-a").unwrap() {
            let namespace = entry.namespace.as_mut().unwrap();
            namespace.boot_id.clone_from(&record.boot_id);
        }
        world.defer("cid-a", record.to_json());
        pipeline.finish_deferred(Path::new(DIR), false).await;
        assert_eq!(world.netns.lock().unwrap().as_deref(), Some(expected));
    }
}
