//! Requests that name another interface of a container than the one it was attached by.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use cnidaria_core::pipeline::Error;
use daemon::response;
use support::{World, body};

/// The same request for another interface.
fn about(if_name: &str, body: &[u8]) -> Vec<u8> {
    let mut request = shim_api::Request::parse(body).unwrap();
    request
        .env
        .insert("CNI_IFNAME".to_owned(), if_name.to_owned());
    request.to_json()
}

fn code(error: &Error) -> u32 {
    response::cni_error(error).code
}

#[tokio::test]
async fn second_interface_rollback_keeps_first() {
    let (world, pipeline) = World::with_pod("a", "one").await;
    world.log();
    let second = about("eth1", &body("ADD", "a"));
    let error = pipeline.handle(&second).await.unwrap_err();
    assert_eq!(code(&error), 4);
    let roll_back = about("eth1", &body("DEL", "a"));
    pipeline.handle(&roll_back).await.unwrap();
    assert_eq!(world.log(), Vec::<String>::new());
    pipeline.handle(&body("CHECK", "a")).await.unwrap();
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert_eq!(world.log()[2..], ["del one", "del default", "forget"]);
}

#[tokio::test]
async fn check_of_unknown_interface_fails() {
    let (_world, pipeline) = World::with_pod("a", "one").await;
    let other = about("eth1", &body("CHECK", "a"));
    let error = pipeline.handle(&other).await.unwrap_err();
    assert_eq!(code(&error), 3);
}

#[tokio::test]
async fn a_del_of_another_interface_cancels_nothing() {
    for (verb, slow) in [("ADD", "add default"), ("CHECK", "check default")] {
        let world = World::new();
        world.pod("a", "one");
        let pipeline = world.pipeline();
        if verb == "CHECK" {
            pipeline.handle(&body("ADD", "a")).await.unwrap();
            world.fail("hang check default");
        }
        world.slow("default", "go on");
        let request = body(verb, "a");
        let mut running = std::pin::pin!(pipeline.handle(&request));
        while !world
            .log
            .lock()
            .unwrap()
            .iter()
            .any(|one| one.ends_with(slow))
        {
            assert!(futures_util::poll!(&mut running).is_pending());
            tokio::task::yield_now().await;
        }
        let other = about("eth1", &body("DEL", "a"));
        pipeline.handle(&other).await.unwrap();
        assert!(futures_util::poll!(&mut running).is_pending(), "{verb}");
        if verb == "ADD" {
            world.log.lock().unwrap().push("go on".to_owned());
            running.await.unwrap();
        }
    }
}
