//! The ledger of a simulated node, in memory.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::pin::Pin;

use async_trait::async_trait;
use cni_types::args::ContainerId;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::ports::{
    DeferredDel, Ledger, LedgerError, Listing, Lost, Recorded, Standing, StandingAttachment, Undo,
};

use super::World;

impl Standing for World {
    fn keep(&self, _: bool) {}

    fn visit(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &StandingAttachment) -> ControlFlow<()>,
    ) -> bool {
        let recorded = self.recorded.lock();
        let all = recorded
            .values()
            .flatten()
            .filter_map(StandingAttachment::of);
        let named = all.map(|one| (format!("{}/{}", one.container_id, one.if_name), one));
        let all: BTreeMap<String, StandingAttachment> = named.collect();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, one) in all.range::<str, _>((start, Bound::Unbounded)) {
            if visit(key, one).is_break() {
                break;
            }
        }
        true
    }
}

#[async_trait]
impl Ledger for World {
    async fn record(&self, _: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        if let Some(first) = entries.first() {
            let container = first.container_id.to_string();
            self.recorded.lock().insert(container, entries.to_vec());
        }
        Ok(())
    }

    async fn record_result(&self, _: &Path, entry: &Entry) -> Result<(), LedgerError> {
        let mut recorded = self.recorded.lock();
        let entries = recorded.get_mut(entry.container_id.as_str());
        for known in entries.into_iter().flatten() {
            if known.if_name == entry.if_name {
                known.clone_from(entry);
            }
        }
        Ok(())
    }

    async fn restore(&self, dir: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        self.record(dir, entries).await
    }

    async fn find(&self, _: &Path, sandbox: &Sandbox) -> Result<Recorded, LedgerError> {
        let recorded = self.recorded.lock();
        let entries = recorded.get(sandbox.container_id.as_str()).cloned();
        Ok(entries.map_or(Recorded::Nothing, Recorded::Whole))
    }

    async fn results(&self, _: &Path, _: &Sandbox) -> Result<Vec<Entry>, LedgerError> {
        Ok(Vec::new())
    }

    async fn recall(&self, _: &Path, _: &mut Entry) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forget_result(&self, _: &Path, entry: &Entry) -> Result<(), LedgerError> {
        if let Some(entries) = self.recorded.lock().get_mut(entry.container_id.as_str()) {
            entries.retain(|known| known.if_name != entry.if_name);
        }
        Ok(())
    }

    async fn deferred(&self, _: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        Ok(Vec::new())
    }

    fn deferred_changed(
        &self,
        _: &Path,
    ) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send>> {
        Box::pin(std::future::pending())
    }

    async fn deferred_dels(
        &self,
        _: &Path,
        _: &ContainerId,
    ) -> Result<Vec<DeferredDel>, LedgerError> {
        Ok(Vec::new())
    }

    async fn defer(&self, _: &Path, _: &DeferredDel) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn note_forgotten(&self, _: &Path, _: &ContainerId) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn drop_forgotten(&self, _: &Path, _: &ContainerId) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forgotten(&self, _: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        Ok(Vec::new())
    }

    async fn forget_deferred_del(&self, _: &Path, _: &DeferredDel) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forget(&self, _: &Path, container: &ContainerId) -> Result<(), LedgerError> {
        self.recorded.lock().remove(container.as_str());
        Ok(())
    }

    async fn record_undo(&self, _: &Path, _: &Undo) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn forget_undo(&self, _: &Path, _: &ContainerId) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn set_aside(&self, _: &Path, _: &[Lost]) {}

    async fn set_plan_aside(&self, _: &Path, _: &ContainerId) {}

    async fn undos(&self, _: &Path) -> Result<Vec<Undo>, LedgerError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &Path) -> Result<Listing, LedgerError> {
        Ok(Listing {
            entries: self.recorded.lock().values().flatten().cloned().collect(),
            unreadable: Vec::new(),
        })
    }
}
