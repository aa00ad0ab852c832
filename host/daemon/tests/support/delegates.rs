//! Fake delegates that log their execution, and empty network namespaces.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cni_types::args::IfName;
use cni_types::conf::NetworkConfList;
use cni_types::error::CniError;
use cni_types::result::CniResult;
use cni_types::version::{ConfVersion, Version};
use cnidaria_core::domain::entry::{Entry, FailedAdd};
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::ports::{
    AtPath, Attached, DelegateError, Delegates, Inside, PodNetwork, PodNetworkError, Wanted,
};
use shim_api::deferred::NetnsId;

use super::World;

#[async_trait]
impl Delegates for World {
    async fn add(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
        mut wanted: Wanted,
    ) -> Result<CniResult, DelegateError> {
        *self.bin_dirs.lock().unwrap() = bin_dirs.to_vec();
        let added = self.delegate("add", entry);
        self.be_slow(entry.conf.name().as_str()).await;
        added?;
        let slow = format!("slow {}", entry.conf.name());
        if self.fails(&slow) {
            wanted.not_any_more().await;
            self.did(format!("ended {}", entry.conf.name()));
        }
        if self.fails(&format!("hang {}", entry.conf.name())) {
            std::future::pending::<()>().await;
        }
        let text = format!(
            r#"{{"cniVersion":"1.0.0","interfaces":[{{"name":"{0}","sandbox":"s"}}],"ips":[{{"address":"10.0.0.1/24","interface":0}}]}}"#,
            entry.if_name
        );
        Ok(CniResult::parse(text.as_bytes(), ConfVersion::from(Version::V1_0_0)).unwrap())
    }

    async fn check(&self, _bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        self.may_hang(format!("hang check {}", entry.conf.name()))
            .await;
        self.delegate("check", entry)
    }

    async fn status(&self, _: &[PathBuf], conf: &NetworkConfList) -> Result<(), DelegateError> {
        self.asked("status", conf, conf.name().as_str())
    }

    async fn gc(
        &self,
        _: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        let valid: Vec<_> = valid
            .iter()
            .map(|v| format!("{}/{}", v.container_id, v.if_name))
            .collect();
        self.log
            .lock()
            .unwrap()
            .push(format!("valid {}", valid.join(" ")));
        self.may_hang(format!("hang gc {}", conf.name())).await;
        self.asked("gc", conf, conf.name().as_str())
            .map_err(|error| vec![error])
    }

    async fn del(
        &self,
        _bin_dirs: &[PathBuf],
        entry: &Entry,
    ) -> Result<Vec<DelegateError>, DelegateError> {
        self.entered.lock().unwrap().clone_from(&entry.netns);
        let attachment = format!("{}/{}", entry.container_id, entry.if_name);
        let _running = self.run(attachment);
        let place = entry.netns.as_deref().unwrap_or("nowhere");
        if place.is_empty() {
            self.did(format!("without netns {}", entry.if_name));
        }
        self.may_hang(format!("hang del {}", entry.conf.name()))
            .await;
        assert!(
            !self.fails(&format!("panic del {}", entry.conf.name())),
            "told to fail"
        );
        let late = format!("time out del {}", entry.conf.name());
        if self.fails(&late) {
            self.did(late);
            tokio::time::sleep(Duration::from_secs(90)).await;
            return Err(DelegateError {
                network: entry.network.clone(),
                error: CniError::new(11, "killed"),
                executed: true,
                timed_out: true,
                failed_at: Some(FailedAdd {
                    plugin: 0,
                    refused: false,
                    started: true,
                    so_far: None,
                    unfinished: false,
                }),
            });
        }
        match self.delegate("del", entry) {
            Err(error) if entry.made_nothing(0, true) => Ok(vec![error]),
            deleted => deleted.map(|()| Vec::new()),
        }
    }
}

/// A DEL in progress, until dropped.
struct Running<'a>(&'a World, String);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().remove(&self.1);
    }
}

impl World {
    /// Panics if two DELs of one attachment run at once.
    fn run(&self, attachment: String) -> Running<'_> {
        let is_first = self.running.lock().unwrap().insert(attachment.clone());
        assert!(is_first, "{attachment} twice");
        Running(self, attachment)
    }

    fn delegate(&self, verb: &str, entry: &Entry) -> Result<(), DelegateError> {
        self.asked(verb, &entry.conf, &entry.network)
    }

    fn asked(
        &self,
        verb: &str,
        conf: &NetworkConfList,
        network: &str,
    ) -> Result<(), DelegateError> {
        let what = format!("{verb} {}", conf.name());
        if self.did(what.clone()) {
            return Ok(());
        }
        let executed = !self.fails("not executed");
        let error = CniError::new(123, format!("{what} told to fail"));
        Err(DelegateError {
            network: network.to_owned(),
            error,
            executed,
            timed_out: false,
            failed_at: Some(FailedAdd {
                plugin: 0,
                refused: !self.fails("interrupted"),
                started: true,
                so_far: None,
                unfinished: false,
            }),
        })
    }
}

impl World {
    /// The namespace at a path: a new one whenever `namespaces` grows.
    fn namespace_of(&self, netns: &Path) -> Namespace {
        let apart = 1000 * u64::from(self.apart.lock().unwrap().contains(netns));
        Namespace {
            boot_id: self.boot.lock().unwrap().clone(),
            file: NetnsId::at(Path::new("/")).unwrap(),
            cookie: Some(apart + *self.namespaces.lock().unwrap()),
            added_at: None,
        }
    }
}

#[async_trait]
impl PodNetwork for World {
    async fn look(&self, netns: &Path, names: &[IfName]) -> Result<Inside, PodNetworkError> {
        let namespace = self.namespace_of(netns);
        let fail = self.fail.lock().unwrap();
        let existing = names
            .iter()
            .filter(|name| fail.contains(&format!("exists {name}")))
            .cloned()
            .collect();
        Ok(Inside {
            namespace,
            existing,
        })
    }

    async fn at(&self, netns: &Path) -> Result<AtPath, PodNetworkError> {
        let nothing = format!("nothing at {}", netns.display());
        if self.fails("netns gone") || self.fails(&nothing) {
            return Ok(AtPath::Nothing);
        }
        if self.fails("netns of the node") {
            return Ok(AtPath::Node);
        }
        Ok(AtPath::Pod(self.namespace_of(netns)))
    }

    async fn has_processes(&self, _netns: &Path) -> Result<bool, PodNetworkError> {
        Ok(self.fails("inhabited"))
    }

    async fn has_address(&self, address: IpAddr) -> Result<bool, PodNetworkError> {
        Ok(self.fails(&format!("address {address}")))
    }

    fn is_of_earlier_boot(&self, namespace: &Namespace) -> bool {
        namespace.boot_id != *self.boot.lock().unwrap()
    }

    async fn identity(&self, netns: &Path) -> Option<NetnsId> {
        NetnsId::at(netns)
    }

    async fn set_default_route(
        &self,
        _: &Path,
        if_name: &IfName,
        gateway: IpAddr,
    ) -> Result<(), PodNetworkError> {
        self.did(format!("default route {gateway} on {if_name}"));
        Ok(())
    }
}
