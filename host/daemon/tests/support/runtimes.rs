//! A node on which runtimes have confs of several names and directories.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{World, body};
use cni_types::json::RawObject;
use cnidaria_core::pipeline::{Error, Pipeline};
use daemon::adapters::ledger::Files;
use daemon::config::own::Durability;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The name that Multus gives its conf.
pub const USUAL: &str = "multus-cni-network";

/// A node with a directory for the daemon and others that runtimes' confs name.
pub struct Node {
    pub world: Arc<World>,
    pub dir: TempDir,
}

impl Node {
    pub fn new() -> Self {
        let world = World::new();
        world.pod("a", "one");
        world.pod("b", "two");
        let dir = tempfile::tempdir().unwrap();
        Self { world, dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A daemon whose file names no `cniDir`.
    pub async fn daemon(&self) -> Arc<Pipeline> {
        let own = self.path("own");
        let files = Files::new(Durability::Grouped).remembering_in(&own);
        let daemon = self.world.pipeline_with(Arc::new(files), RawObject::new());
        daemon.begin(&own).await;
        daemon
    }

    /// A runtime whose conf has this name and directory.
    pub fn runtime<'a>(&'a self, name: &'a str, dir: &str) -> Runtime<'a> {
        let (node, dir) = (self, self.path(dir));
        Runtime { node, name, dir }
    }

    pub fn log(&self) -> Vec<String> {
        self.world.log()
    }

    /// Removes what a daemon of before this record did not write.
    pub fn forget_directories(&self) {
        for name in [".directories", ".directories.copy"] {
            std::fs::remove_file(self.path("own").join(name)).unwrap();
        }
    }

    /// Runs the daemon's background work until `is_done`.
    pub async fn works_until(&self, daemon: &Arc<Pipeline>, is_done: impl Fn() -> bool) {
        let own = self.path("own");
        let done = async {
            while !is_done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = daemon.finish_undos(&own) => {}
            done = tokio::time::timeout(Duration::from_secs(30), done) => done.unwrap(),
        }
    }
}

pub struct Runtime<'a> {
    pub node: &'a Node,
    pub name: &'a str,
    pub dir: PathBuf,
}

impl Runtime<'_> {
    pub fn request(&self, command: &str, pod: &str) -> shim_api::Request {
        let request = shim_api::Request::parse(&body(command, pod)).unwrap();
        let mut conf: Value = serde_json::from_slice(&request.config).unwrap();
        conf["cniDir"] = json!(self.dir);
        conf["name"] = json!(self.name);
        let config = conf.to_string().into_bytes();
        shim_api::Request { config, ..request }
    }

    pub async fn call(
        &self,
        daemon: &Arc<Pipeline>,
        command: &str,
        pod: &str,
    ) -> Result<(), Error> {
        let request = self.request(command, pod).to_json();
        daemon.handle(&request).await.map(drop)
    }

    /// A GC of a runtime that knows these pods.
    pub async fn gc(&self, daemon: &Arc<Pipeline>, pods: &[&str]) -> Vec<String> {
        self.node.log();
        let mut request = self.request("GC", "");
        let mut conf: Value = serde_json::from_slice(&request.config).unwrap();
        conf["cniVersion"] = json!("1.1.0");
        let valid = pods
            .iter()
            .map(|pod| json!({ "containerID": format!("cid-{pod}"), "ifname": "eth0" }));
        conf["cni.dev/valid-attachments"] = valid.collect();
        request.config = conf.to_string().into_bytes();
        request.env = [("CNI_COMMAND".to_owned(), "GC".to_owned())].into();
        daemon.handle(&request.to_json()).await.unwrap();
        self.node.log()
    }
}

/// Attaches `net5` to a pod by `POST /delegate`.
pub async fn plug(daemon: &Arc<Pipeline>, command: &str, pod: &str) {
    let mut request = shim_api::Request::parse(&body(command, pod)).unwrap();
    request.env.insert("CNI_IFNAME".into(), "net5".into());
    request.config = br#"{"cniVersion":"1.0.0","name":"hot","type":"t"}"#.to_vec();
    daemon.hotplug(&request.to_json()).await.unwrap();
}

pub fn deletions(log: &[String]) -> Vec<&String> {
    log.iter().filter(|done| done.starts_with("del")).collect()
}

/// What delegates were given as in use.
pub fn given(log: &[String]) -> Vec<&str> {
    let mut given: Vec<_> = log
        .iter()
        .filter_map(|one| one.strip_prefix("valid "))
        .collect();
    given.dedup();
    given
}
