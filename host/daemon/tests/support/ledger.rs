//! A ledger in memory.

use std::path::Path;

use async_trait::async_trait;
use cni_types::args::ContainerId;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::ports::{DeferredDel, Ledger, LedgerError, Listing, Lost, Recorded, Undo};
use futures_util::future::BoxFuture;
use shim_api::deferred::split_file_name;

use super::World;

#[async_trait]
impl Ledger for World {
    async fn record(&self, _dir: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        if !self.did("record".into()) {
            return Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            });
        }
        let container = entries[0].container_id.to_string();
        self.recorded
            .lock()
            .unwrap()
            .insert(container, entries.to_vec());
        Ok(())
    }

    async fn record_result(&self, _dir: &Path, entry: &Entry) -> Result<(), LedgerError> {
        match self.did(format!("record-result {}", entry.conf.name())) {
            true => {
                let mut recorded = self.recorded.lock().unwrap();
                let entries = recorded.get_mut(entry.container_id.as_str());
                for known in entries.into_iter().flatten() {
                    if known.if_name == entry.if_name {
                        known.result.clone_from(&entry.result);
                    }
                }
                Ok(())
            }
            false => Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            }),
        }
    }

    async fn restore(&self, _dir: &Path, _entries: &[Entry]) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn find(&self, _dir: &Path, sandbox: &Sandbox) -> Result<Recorded, LedgerError> {
        self.netns.lock().unwrap().clone_from(&sandbox.netns);
        if self.fail.lock().unwrap().contains("load") {
            return Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            });
        }
        let recorded = self.recorded.lock().unwrap();
        let mut entries = recorded.get(sandbox.container_id.as_str()).cloned();
        for entry in entries.iter_mut().flatten() {
            // The request's path takes precedence, as on disk.
            let named = sandbox.netns.clone().filter(|path| !path.is_empty());
            entry.netns = named.or(entry.netns.take());
        }
        Ok(entries.map_or(Recorded::Nothing, Recorded::Whole))
    }

    async fn results(&self, _dir: &Path, sandbox: &Sandbox) -> Result<Vec<Entry>, LedgerError> {
        let results = self.results.lock().unwrap();
        let found = results.get(sandbox.container_id.as_str());
        Ok(found.cloned().unwrap_or_default())
    }

    async fn recall(&self, _dir: &Path, _entry: &mut Entry) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forget_result(&self, _dir: &Path, _entry: &Entry) -> Result<(), LedgerError> {
        match self.fail.lock().unwrap().contains("forget-result") {
            true => Err(LedgerError::Damaged {
                path: "x".into(),
                reason: "told to fail".into(),
            }),
            false => Ok(()),
        }
    }

    async fn forget(&self, _dir: &Path, container: &ContainerId) -> Result<(), LedgerError> {
        self.did("forget".into());
        self.undos.lock().unwrap().remove(container.as_str());
        self.recorded.lock().unwrap().remove(container.as_str());
        Ok(())
    }

    async fn deferred(&self, _dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        let deferred = self.deferred.lock().unwrap();
        let ids = deferred.keys().map(|name| split_file_name(name).0);
        let mut ids: Vec<_> = ids.map(|id| ContainerId::new(id).unwrap()).collect();
        ids.dedup();
        Ok(ids)
    }

    fn deferred_changed(&self, _dir: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
        Box::pin(std::future::pending())
    }

    async fn deferred_dels(
        &self,
        _dir: &Path,
        container: &ContainerId,
    ) -> Result<Vec<DeferredDel>, LedgerError> {
        let deferred = self.deferred.lock().unwrap();
        let is_its = |name: &str| split_file_name(name).0 == container.as_str();
        let records = deferred.iter().filter(|(name, _)| is_its(name));
        let records = records.map(|(name, text)| DeferredDel {
            name: name.clone(),
            text: text.clone(),
        });
        Ok(records.collect())
    }

    async fn defer(&self, _dir: &Path, record: &DeferredDel) -> Result<(), LedgerError> {
        let record = (record.name.clone(), record.text.clone());
        self.deferred.lock().unwrap().extend([record]);
        Ok(())
    }

    async fn forget_deferred_del(
        &self,
        _dir: &Path,
        record: &DeferredDel,
    ) -> Result<(), LedgerError> {
        self.deferred.lock().unwrap().remove(&record.name);
        Ok(())
    }

    async fn record_undo(&self, _dir: &Path, undo: &Undo) -> Result<(), LedgerError> {
        self.undos
            .lock()
            .unwrap()
            .insert(undo.container_id.to_string(), undo.clone());
        Ok(())
    }

    async fn forget_undo(&self, _dir: &Path, container: &ContainerId) -> Result<(), LedgerError> {
        self.undos.lock().unwrap().remove(container.as_str());
        Ok(())
    }

    async fn note_forgotten(&self, _dir: &Path, id: &ContainerId) -> Result<(), LedgerError> {
        self.forgotten.lock().unwrap().insert(id.clone());
        Ok(())
    }

    async fn drop_forgotten(&self, _dir: &Path, id: &ContainerId) -> Result<(), LedgerError> {
        self.forgotten.lock().unwrap().remove(id);
        Ok(())
    }

    async fn forgotten(&self, _dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        Ok(self.forgotten.lock().unwrap().iter().cloned().collect())
    }

    async fn set_plan_aside(&self, _dir: &Path, _container: &ContainerId) {}

    async fn set_aside(&self, _dir: &Path, _lost: &[Lost]) {}

    async fn undos(&self, _dir: &Path) -> Result<Vec<Undo>, LedgerError> {
        Ok(self.undos.lock().unwrap().values().cloned().collect())
    }

    async fn list(&self, _dir: &Path) -> Result<Listing, LedgerError> {
        let recorded = self.recorded.lock().unwrap();
        Ok(Listing {
            entries: recorded.values().flatten().cloned().collect(),
            unreadable: Vec::new(),
        })
    }
}
