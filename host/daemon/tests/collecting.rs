//! What is collected of containers without a sandbox, and what never is, with fakes of every port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cni_types::args::{ContainerId, NetworkName};
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;
use cnidaria_core::pipeline::{Collector, Error, Leftover, Pipeline, Schedule};
use cnidaria_core::ports::{Reservation, Reservations, Sandboxes, SandboxesError};
use support::{DIR, World, body};
use tokio::task::JoinHandle;

const GRACE: Duration = Duration::from_secs(600);
const ADDRESS: &str = "10.0.0.9";

/// An ADD whose delegate waits.
type Adding = JoinHandle<Result<Option<CniResult>, Error>>;

/// The runtime's list, or the error that it answers.
struct Runtime(Mutex<Result<Vec<&'static str>, &'static str>>);

#[async_trait]
impl Sandboxes for Runtime {
    async fn list(&self) -> Result<BTreeSet<ContainerId>, SandboxesError> {
        let answer = self.0.lock().unwrap().clone();
        match answer {
            Ok(ids) => Ok(ids
                .into_iter()
                .map(|id| ContainerId::new(id).unwrap())
                .collect()),
            Err(reason) => Err(SandboxesError {
                socket: "/cri".into(),
                reason: reason.to_owned(),
            }),
        }
    }
}

/// The owners of addresses that host-local has reserved in network `default`, in order.
#[derive(Default)]
struct Addresses(Mutex<Vec<(&'static str, &'static str)>>);

#[async_trait]
impl Reservations for Addresses {
    async fn list(&self, confs: &[NetworkConfList]) -> Vec<Reservation> {
        if !confs.iter().any(|conf| conf.name().as_str() == "default") {
            return Vec::new();
        }
        let reserved = self.0.lock().unwrap();
        let reservation = |(address, container): &(&str, &str)| Reservation {
            data_dir: "/ipam".into(),
            network: NetworkName::new("default").unwrap(),
            address: address.parse().unwrap(),
            container: ContainerId::new(*container).unwrap(),
            since: None,
        };
        reserved.iter().map(reservation).collect()
    }

    async fn release(&self, reservation: &Reservation) -> std::io::Result<bool> {
        let address = reservation.address.to_string();
        let mut reserved = self.0.lock().unwrap();
        reserved.retain(|(one, _)| *one != address);
        Ok(true)
    }
}

struct Node {
    world: Arc<World>,
    pipeline: Arc<Pipeline>,
    runtime: Arc<Runtime>,
    addresses: Arc<Addresses>,
    collector: Collector,
}

fn collector(runtime: &Arc<Runtime>, addresses: &Arc<Addresses>, grace: Duration) -> Collector {
    let schedule = Schedule {
        interval: Duration::from_secs(60),
        grace,
    };
    Collector::new(
        Arc::clone(runtime) as Arc<dyn Sandboxes>,
        Arc::clone(addresses) as Arc<dyn Reservations>,
        schedule,
    )
}

impl Node {
    /// A node with the pod `a`, whose sandbox the runtime has.
    async fn with_a() -> Self {
        let (world, pipeline) = World::with_pod("a", "one").await;
        pipeline.begin(Path::new(DIR)).await;
        let runtime = Arc::new(Runtime(Mutex::new(Ok(vec!["cid-a"]))));
        let addresses = Arc::<Addresses>::default();
        let collector = collector(&runtime, &addresses, GRACE);
        // As a daemon does from its start on; what is lost later is not its business.
        let finishing = Arc::clone(&pipeline);
        tokio::spawn(async move { finishing.finish_undos(Path::new(DIR)).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.log();
        Self {
            world,
            pipeline,
            runtime,
            addresses,
            collector,
        }
    }

    /// The same after the runtime has forgotten the sandbox, and its namespace is gone.
    async fn without_sandbox() -> Self {
        let node = Self::with_a().await;
        node.set(Ok(vec![]));
        node.world.fail("netns gone");
        node
    }

    /// Begins the ADD of `b`, whose delegate waits for [`Self::end_add`].
    async fn begin_add(&self) -> Adding {
        self.world.pod("b", "two");
        self.world.slow("two", "go on");
        let pipeline = Arc::clone(&self.pipeline);
        let adding = tokio::spawn(async move { pipeline.handle(&body("ADD", "b")).await });
        let has_begun = || {
            self.world
                .log
                .lock()
                .unwrap()
                .contains(&"add two".to_owned())
        };
        while !has_begun() {
            tokio::task::yield_now().await;
        }
        adding
    }

    async fn end_add(&self, adding: Adding) {
        self.world.log.lock().unwrap().push("go on".to_owned());
        adding.await.unwrap().unwrap();
    }

    fn set(&self, answer: Result<Vec<&'static str>, &'static str>) {
        *self.runtime.0.lock().unwrap() = answer;
    }

    /// One observation, and the undos that it scheduled; returns the delegates' DELs.
    async fn observe(&self) -> Vec<String> {
        self.pipeline.observe(&self.collector).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let log = self.world.log();
        log.into_iter()
            .filter(|one| one.starts_with("del"))
            .collect()
    }

    async fn observe_after(&self, time: Duration) -> Vec<String> {
        tokio::time::advance(time).await;
        self.observe().await
    }

    /// Two observations with the grace period between them.
    async fn observe_for_long(&self) -> Vec<String> {
        let first = self.observe().await;
        assert!(first.is_empty(), "{first:?}");
        self.observe_after(GRACE).await
    }

    fn is_recorded(&self) -> bool {
        self.world.recorded.lock().unwrap().contains_key("cid-a")
    }

    fn reserved(&self) -> Vec<&'static str> {
        let reserved = self.addresses.0.lock().unwrap();
        reserved.iter().map(|(address, _)| *address).collect()
    }
}

const ALL: [&str; 2] = ["del one", "del default"];

#[tokio::test(start_paused = true)]
async fn delegates_undo_a_pod_without_a_sandbox() {
    let node = Node::without_sandbox().await;
    assert_eq!(node.observe().await, [""; 0]);
    assert_eq!(node.observe_after(GRACE / 2).await, [""; 0]);
    assert_eq!(node.observe_after(GRACE / 2).await, ALL);
    assert!(!node.is_recorded());
    let collected = node.collector.recent();
    let shown: Vec<String> = collected
        .iter()
        .map(|one| match &one.what {
            Leftover::Attachment(name) => format!("{} {name} {}", one.container, one.network),
            Leftover::Address(address) => address.to_string(),
        })
        .collect();
    assert_eq!(shown, ["cid-a eth0 default", "cid-a net1 default/one"]);
    assert_eq!(node.observe_for_long().await, [""; 0], "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_sandbox_is_kept() {
    let node = Node::without_sandbox().await;
    node.set(Ok(vec!["cid-a"]));
    assert_eq!(node.observe_for_long().await, [""; 0]);
    assert!(node.is_recorded());
}

#[tokio::test(start_paused = true)]
async fn what_lives_is_kept() {
    for sign in ["exists eth0", "exists net1", "inhabited"] {
        let node = Node::with_a().await;
        node.set(Ok(vec!["another"]));
        node.world.fail(sign);
        assert_eq!(node.observe_for_long().await, [""; 0], "{sign}");
        assert!(node.is_recorded());
        node.world.mend();
        assert_eq!(node.observe_for_long().await, ALL, "an empty namespace");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_keeps_the_pods_others() {
    let node = Node::with_a().await;
    node.set(Ok(vec![]));
    node.world.fail("exists net1");
    assert_eq!(node.observe_for_long().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn each_error_begins_a_new_grace_period() {
    let node = Node::without_sandbox().await;
    node.observe().await;
    node.set(Err("server is not initialized yet"));
    assert_eq!(node.observe_after(GRACE).await, [""; 0]);
    node.set(Ok(vec![]));
    assert_eq!(node.observe_after(GRACE).await, [""; 0]);
    assert_eq!(node.observe_after(GRACE).await, ALL);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_the_running_is_not_believed() {
    let node = Node::with_a().await;
    node.world.pod("b", "two");
    node.pipeline.handle(&body("ADD", "b")).await.unwrap();
    node.world.log();
    node.addresses.0.lock().unwrap().push((ADDRESS, "cid-x"));
    node.world.fail("inhabited");
    for answer in [vec![], vec!["other-1", "other-2"]] {
        node.set(Ok(answer));
        assert_eq!(node.observe_for_long().await, [""; 0]);
    }
    assert_eq!(node.reserved(), [ADDRESS]);
    // One of the ledger's is enough.
    node.set(Ok(vec!["cid-b"]));
    node.observe_for_long().await;
    assert_eq!(node.reserved(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_attachment_under_a_reused_id_is_new() {
    let node = Node::without_sandbox().await;
    node.observe().await;
    node.world.mend();
    node.pipeline.handle(&body("DEL", "a")).await.unwrap();
    *node.world.namespaces.lock().unwrap() += 1;
    tokio::time::advance(GRACE).await;
    node.pipeline.handle(&body("ADD", "a")).await.unwrap();
    node.world.log();
    node.world.fail("netns gone");
    assert_eq!(node.observe().await, [""; 0]);
    assert_eq!(node.observe_after(GRACE).await, ALL);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_added_is_kept() {
    let node = Node::without_sandbox().await;
    let adding = node.begin_add().await;
    // A task that waits without sleeping stops the clock of the test: no retries here.
    // Shorter than an ADD may take.
    let grace = Duration::from_secs(60);
    let collector = collector(&node.runtime, &node.addresses, grace);
    node.pipeline.observe(&collector).await;
    tokio::time::advance(grace).await;
    node.pipeline.observe(&collector).await;
    let collected = collector.recent().into_iter();
    let collected: BTreeSet<String> = collected.map(|one| one.container.to_string()).collect();
    assert_eq!(collected, BTreeSet::from(["cid-a".to_owned()]));
    node.end_add(adding).await;
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_fails_is_retried() {
    let node = Node::without_sandbox().await;
    node.world.fail("del one");
    node.observe_for_long().await;
    assert!(node.is_recorded());
    node.observe_after(GRACE).await;
    assert_eq!(node.collector.recent().len(), 2, "collected once");
    node.world.mend();
    node.world.fail("netns gone");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!node.is_recorded());
}

#[tokio::test(start_paused = true)]
async fn an_address_without_a_container_is_released() {
    let node = Node::with_a().await;
    let owners = [
        (ADDRESS, "cid-x"),
        ("10.0.0.2", "cid-a"),
        ("10.0.0.3", "listed"),
        ("10.0.0.4", "cid-x"),
    ];
    node.addresses.0.lock().unwrap().extend(owners);
    node.set(Ok(vec!["cid-a", "listed"]));
    node.world.fail("address 10.0.0.4");
    node.observe_for_long().await;
    assert_eq!(node.reserved(), ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    let collected = node.collector.recent();
    assert_eq!(collected.len(), 1);
    assert_eq!(
        collected[0].what,
        Leftover::Address(ADDRESS.parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_of_an_add_is_kept() {
    let node = Node::with_a().await;
    node.addresses.0.lock().unwrap().push((ADDRESS, "cid-b"));
    node.observe().await;
    tokio::time::advance(GRACE).await;
    let adding = node.begin_add().await;
    node.pipeline.observe(&node.collector).await;
    assert_eq!(node.reserved(), [ADDRESS]);
    node.end_add(adding).await;
}
