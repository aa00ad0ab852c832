//! What policies keep for an attachment, on fakes of every port: kept from a successful ADD until
//! the container's DEL.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{World, body};

fn bonds(world: &World) -> Vec<String> {
    std::mem::take(&mut *world.bonds.lock().unwrap())
}

#[tokio::test]
async fn only_an_add_that_succeeds_keeps_bonds() {
    for failure in [
        "deny select",
        "deny before-add one",
        "deny settle",
        "add one",
        "deny after-add one",
        "deny finalize",
        "record",
    ] {
        let world = World::new();
        world.pod("a", "one");
        let pipeline = world.pipeline();
        world.fail(failure);
        assert!(pipeline.handle(&body("ADD", "a")).await.is_err());
        let kept = bonds(&world).contains(&"succeed".to_owned());
        assert!(!kept, "{failure}");
        world.mend();
        pipeline.handle(&body("ADD", "a")).await.unwrap();
        assert!(bonds(&world).contains(&"succeed".to_owned()), "{failure}");
    }
}

#[tokio::test]
async fn every_del_lets_go_of_bonds() {
    let world = World::new();
    world.pod("a", "one");
    let pipeline = world.pipeline();
    // Also for a container that is not recorded: its ADD may have been cut off.
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(bonds(&world).contains(&"release cid-a".to_owned()));
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    bonds(&world);
    pipeline.handle(&body("DEL", "a")).await.unwrap();
    assert!(bonds(&world).contains(&"release cid-a".to_owned()));
}
