//! Networks whose delegates are running GC. A GC passes the valid attachments to the delegates; one
//! made meanwhile would be missing from that list. So an ADD, once recorded, waits for its
//! network's GC to end; earlier records are in the list. Each network's collection starts and ends
//! with its own delegates, so one network's hanging delegates do not block ADDs to others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cni_types::args::NetworkName;
use tokio::sync::watch;

/// The collections running on the node.
#[derive(Debug)]
pub(super) struct Collections {
    networks: Mutex<HashMap<NetworkName, usize>>,
    ended: watch::Sender<()>,
}

/// A running collection of one network; ends on drop.
#[derive(Debug)]
pub(super) struct Collection<'a> {
    collections: &'a Collections,
    network: NetworkName,
}

impl Default for Collections {
    fn default() -> Self {
        Self {
            networks: Mutex::default(),
            ended: watch::Sender::new(()),
        }
    }
}

impl Collections {
    /// Begins a collection: the network's ADDs wait until it ends. The caller must reload what is
    /// recorded after this call.
    pub(super) fn begin(&self, network: &NetworkName) -> Collection<'_> {
        *self.networks().entry(network.clone()).or_default() += 1;
        Collection {
            collections: self,
            network: network.clone(),
        }
    }

    /// Waits until no collection of the network runs. Call it once the attachment is recorded.
    pub(super) async fn wait(&self, network: &NetworkName) {
        if self.networks().is_empty() {
            return;
        }
        let mut ended = self.ended.subscribe();
        while self.networks().contains_key(network) {
            if ended.changed().await.is_err() {
                return;
            }
        }
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<NetworkName, usize>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        let mut networks = self.collections.networks();
        if let Some(count) = networks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&self.network);
            }
        }
        drop(networks);
        self.collections.ended.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn attachments_wait_for_their_networks_gc() {
        let (one, two) = (
            NetworkName::new("one").unwrap(),
            NetworkName::new("two").unwrap(),
        );
        let collections = Collections::default();
        let first = collections.begin(&one);
        let second = collections.begin(&one);
        collections.wait(&two).await;
        let mut waiting = Box::pin(collections.wait(&one));
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        assert!(poll!(&mut waiting).is_pending());
        drop(second);
        waiting.await;
    }
}
