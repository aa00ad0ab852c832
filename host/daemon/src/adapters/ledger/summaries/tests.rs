//! Ledgers that change between scrapes.

use std::fs;
use std::time::UNIX_EPOCH;

use cni_types::args::{IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::ports::Ledger as _;
use config::own::Durability;
use libcni::cache::Key;
use tempfile::TempDir;

use super::super::Files;
use super::*;

/// A ledger and what scrapes of it keep.
struct Rig {
    dir: TempDir,
    files: Files,
    summaries: Summaries,
}

impl Rig {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            files: Files::new(Durability::Grouped),
            summaries: Summaries::default(),
        }
    }

    /// Attaches a container to its default network and another one.
    async fn add(&self, container: &str) {
        let entries = [("eth0", "cluster"), ("net1", "blue")].map(|(if_name, network)| {
            let is_default = if_name == "eth0";
            Entry {
                is_default,
                ..entry(container, if_name, network)
            }
        });
        self.files.record(self.dir.path(), &entries).await.unwrap();
        for entry in &entries {
            self.result(entry).await;
        }
    }

    async fn result(&self, entry: &Entry) {
        let recorded = self.files.record_result(self.dir.path(), entry);
        recorded.await.unwrap();
    }

    fn plan(&self, container: &str) -> PathBuf {
        self.dir.path().join(container)
    }

    fn result_file(&self, container: &str, if_name: &str, network: &str) -> PathBuf {
        let key = Key {
            network: NetworkName::new(network).unwrap(),
            container_id: ContainerId::new(container).unwrap(),
            if_name: IfName::new(if_name).unwrap(),
        };
        Cache::new(self.dir.path()).path(&key)
    }

    /// Scrapes, compares with the ledger's own list, and returns how many files that took.
    async fn scrape(&self) -> usize {
        let dir = self.dir.path();
        let scraped = self.summaries.read(vec![dir.to_owned()]).await;
        let listing = self.files.list(dir).await.unwrap();
        let shown = |one: &Summary| format!("{one:?}");
        let mut found: Vec<_> = scraped.summaries.iter().map(shown).collect();
        let mut expected: Vec<_> = listing.entries.iter().map(Summary::of).collect();
        expected.sort_by_key(shown);
        found.sort();
        assert_eq!(found, expected.iter().map(shown).collect::<Vec<_>>());
        scraped.files_read
    }
}

fn entry(container: &str, if_name: &str, network: &str) -> Entry {
    let mut sandbox = Sandbox::recorded(ContainerId::new(container).unwrap());
    sandbox.netns = Some(format!("/run/netns/{container}"));
    sandbox.namespace = Some(Namespace {
        boot_id: "b".to_owned(),
        file: Default::default(),
        cookie: Some(1),
        added_at: None,
    });
    sandbox.pod = PodRef {
        namespace: "default".to_owned(),
        name: container.to_owned(),
        uid: String::new(),
    };
    let conf = format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"macvlan"}}"#);
    let conf = NetworkConfList::parse_any(conf).unwrap();
    let if_name = IfName::new(if_name).unwrap();
    let mut entry = Entry::of(&sandbox, &format!("default/{network}"), if_name, conf);
    let result = r#"{"cniVersion":"1.0.0"}"#;
    entry.result = CniResult::parse(result.as_bytes(), entry.conf.cni_version()).ok();
    entry
}

#[tokio::test]
async fn a_scrape_reads_only_what_changed() {
    let rig = Rig::new();
    assert_eq!(rig.scrape().await, 0, "an empty ledger");
    for container in ["a", "b", "c"] {
        rig.add(container).await;
    }
    assert_eq!(rig.scrape().await, 9);
    assert_eq!(rig.scrape().await, 0);
    rig.add("b").await;
    assert_eq!(rig.scrape().await, 3, "attached again");
    rig.result(&entry("c", "net1", "blue")).await;
    assert_eq!(rig.scrape().await, 3, "another result");
    // Another time is set: two writes in one moment may get the same from the kernel.
    let plan = fs::File::options()
        .append(true)
        .open(rig.plan("a"))
        .unwrap();
    plan.set_modified(UNIX_EPOCH).unwrap();
    assert_eq!(rig.scrape().await, 3, "written in place");
    let a = ContainerId::new("a").unwrap();
    rig.files.forget(rig.dir.path(), &a).await.unwrap();
    assert_eq!(rig.scrape().await, 2, "the results of a plan that is gone");
    assert_eq!(rig.scrape().await, 0);
}

#[tokio::test]
async fn results_without_a_plan_are_shown() {
    let rig = Rig::new();
    rig.add("a").await;
    rig.result(&entry("a", "net2", "hot-plugged")).await;
    rig.result(&entry("a", "net1", "of-the-same-interface"))
        .await;
    rig.result(&entry("b", "net1", "alone")).await;
    assert_eq!(rig.scrape().await, 6);
    assert_eq!(rig.scrape().await, 0);
    rig.add("b").await;
    rig.scrape().await;
    fs::remove_file(rig.result_file("a", "net1", "blue")).unwrap();
    rig.scrape().await;
    assert_eq!(rig.scrape().await, 0);
}

#[tokio::test]
async fn damaged_files_are_read_once() {
    let rig = Rig::new();
    for container in ["a", "b"] {
        rig.add(container).await;
    }
    fs::write(rig.plan("a"), "torn").unwrap();
    fs::write(rig.plan("empty"), "").unwrap();
    fs::write(rig.result_file("b", "net1", "blue"), "torn").unwrap();
    fs::write(rig.result_file("x", "net1", "blue"), "torn").unwrap();
    fs::create_dir(rig.plan("directory")).unwrap();
    assert_ne!(rig.scrape().await, 0);
    assert_eq!(rig.scrape().await, 0);
    rig.add("a").await;
    assert_eq!(rig.scrape().await, 3);
}

#[tokio::test]
async fn plans_of_multus_are_completed() {
    let rig = Rig::new();
    let plan = r#"[{"Conf":{"cniVersion":"1.0.0","name":"cluster","type":"macvlan"},"ConfList":{"name":"cluster","plugins":[]},
        "Name":"default/cluster","Bytes":"eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1lIjoiY2x1c3RlciIsInR5cGUiOiJtYWN2bGFuIn0="}]"#;
    fs::write(rig.plan("m"), plan).unwrap();
    assert_eq!(rig.scrape().await, 2);
    let own = Entry {
        is_default: true,
        ..entry("m", "eth0", "cluster")
    };
    rig.result(&own).await;
    assert_eq!(rig.scrape().await, 2);
    assert_eq!(rig.scrape().await, 0);
}

#[tokio::test]
async fn a_directory_that_left_is_not_shown() {
    let rig = Rig::new();
    rig.add("a").await;
    rig.scrape().await;
    let scraped = rig.summaries.read(Vec::new()).await;
    assert!(scraped.summaries.is_empty());
    assert_eq!(rig.scrape().await, 3, "it was not kept");
}

#[tokio::test(start_paused = true)]
async fn summaries_expire_without_scrapes() {
    let rig = Rig::new();
    rig.add("a").await;
    for _ in 0..3 {
        rig.scrape().await;
        tokio::time::sleep(KEPT_FOR / 2).await;
    }
    assert_eq!(rig.scrape().await, 0, "each scrape keeps them longer");
    tokio::time::sleep(2 * KEPT_FOR).await;
    assert!(rig.summaries.kept.lock().await.is_empty());
    assert_eq!(rig.scrape().await, 3);
}
