//! Readings of namespaces that a test stands for.

use cni_types::args::{ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::domain::sandbox::Sandbox;
use parking_lot::Condvar;
use shim_api::deferred::NetnsId;

use super::*;

const SHORT: Duration = Duration::from_millis(300);
const TABLE: &str =
    "net1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\nnet2: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";

fn entry(pod: &str, if_name: &str) -> Entry {
    let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"macvlan"}"#;
    let mut sandbox = Sandbox::recorded(ContainerId::new(pod).unwrap());
    sandbox.netns = Some(format!("/netns/{pod}"));
    sandbox.namespace = Some(Namespace {
        boot_id: "b".to_owned(),
        file: NetnsId::default(),
        cookie: Some(1),
        added_at: None,
    });
    sandbox.pod = PodRef {
        namespace: "default".to_owned(),
        name: pod.to_owned(),
        uid: String::new(),
    };
    let conf = NetworkConfList::parse_any(conf).unwrap();
    let mut entry = Entry::of(&sandbox, "default/n", IfName::new(if_name).unwrap(), conf);
    let result = r#"{"cniVersion":"1.0.0"}"#;
    entry.result = CniResult::parse(result.as_bytes(), entry.conf.cni_version()).ok();
    entry
}

/// Reads the counters of attachments.
async fn read(counters: &PodCounters, entries: impl IntoIterator<Item = Entry>) -> Reading {
    let entries = entries.into_iter();
    let summaries: Vec<_> = entries.map(|entry| Summary::of(&entry)).collect();
    counters.read(&summaries).await
}

fn names(reading: &Reading) -> Vec<String> {
    let interfaces = reading.interfaces.iter();
    let name = |labels: &PodNetwork| format!("{} {}", labels.pod, labels.interface);
    interfaces.map(|(labels, _)| name(labels)).collect()
}

/// A door at which those who read pods named `hung…` wait.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut is_open = self.0.lock();
        self.1.wait_while(&mut is_open, |is_open| !*is_open);
    }
}

fn counters(door: &Arc<Door>, patience: Duration) -> PodCounters {
    let door = Arc::clone(door);
    let read = move |pod: &Pod| {
        if pod.netns.starts_with("/netns/gone") {
            return Err(io::ErrorKind::NotFound.into());
        }
        if pod.netns.to_string_lossy().contains("hung") {
            door.wait();
        }
        Ok(TABLE.to_owned())
    };
    PodCounters::by(read, patience)
}

#[tokio::test]
async fn interfaces_have_counters_by_name() {
    let counters = counters(&Arc::default(), PATIENCE);
    let mut entries = ["net1", "net2", "net3"]
        .map(|name| entry("a", name))
        .to_vec();
    entries.extend([entry("gone", "net1"), entry("b", "net2")]);
    let reading = read(&counters, entries).await;
    assert_eq!(names(&reading), ["a net1", "a net2", "b net2"]);
    let (labels, traffic) = &reading.interfaces[0];
    assert_eq!(labels.network_name, "default/n");
    assert_eq!((traffic.received.bytes, traffic.sent.dropped), (1, 8));
    let left_out = LeftOut {
        unreadable: 2,
        ..LeftOut::default()
    };
    assert_eq!(reading.left_out, left_out);
}

#[tokio::test]
async fn only_what_stands_and_is_identified_is_read() {
    let counters = counters(&Arc::default(), PATIENCE);
    let primary = Entry {
        is_default: true,
        ..entry("a", "net1")
    };
    let pending = Entry {
        result: None,
        ..entry("a", "net1")
    };
    let of_multus = Entry {
        namespace: None,
        ..entry("a", "net1")
    };
    let gone = Entry {
        netns: Some(String::new()),
        ..entry("a", "net1")
    };
    let reading = read(&counters, [primary, pending, of_multus, gone]).await;
    assert!(reading.interfaces.is_empty(), "{reading:?}");
    assert_eq!(reading.left_out.unidentified, 1);
}

#[tokio::test]
async fn more_interfaces_than_the_limit_are_left_out() {
    let counters = counters(&Arc::default(), PATIENCE);
    let entries = (0..MAX_INTERFACES + 7).map(|number| entry(&format!("p{number}"), "net1"));
    let reading = read(&counters, entries).await;
    assert_eq!(reading.interfaces.len(), MAX_INTERFACES);
    assert_eq!(reading.left_out.limit, 7);
}

#[tokio::test]
async fn a_hung_namespace_holds_up_one_scrape_at_most() {
    let door = Arc::default();
    let counters = counters(&door, SHORT);
    let entries = || ["a", "hung", "b"].map(|pod| entry(pod, "net1")).to_vec();
    let first = read(&counters, entries()).await;
    assert_eq!(names(&first), ["a net1"]);
    assert_eq!(first.left_out.hung, 2);
    // However short: this one does not wait for the namespace.
    let second = read(&counters, entries()).await;
    assert_eq!(names(&second), ["a net1", "b net1"]);
    assert_eq!(second.left_out.hung, 1);
    door.open();
    while !counters.hung.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let third = read(&counters, entries()).await;
    assert_eq!(names(&third), ["a net1", "hung net1", "b net1"]);
}

#[tokio::test]
async fn hung_namespaces_take_few_threads() {
    let door = Arc::default();
    let counters = counters(&door, SHORT);
    let entries = || (0..9).map(|number| entry(&format!("hung{number}"), "net1"));
    for _ in 0..9 {
        let reading = read(&counters, entries()).await;
        assert_eq!(reading.left_out.hung, 9);
    }
    assert_eq!(counters.hung.lock().len(), MAX_HUNG);
    door.open();
}

#[tokio::test]
async fn a_scraper_that_leaves_makes_no_further_threads() {
    let door = Arc::default();
    let counters = counters(&door, PATIENCE);
    for _ in 0..3 {
        let reading = read(&counters, [entry("hung", "net1")]);
        let _ = tokio::time::timeout(SHORT, reading).await;
    }
    assert_eq!(counters.hung.lock().len(), 1);
    door.open();
}
