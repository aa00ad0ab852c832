//! Limits the concurrent retries of each network: a network with hanging delegates delays only its
//! own retries.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Concurrent retries of one network. Slots already limit the delegates of all
/// networks together.
const OF_ONE_NETWORK: usize = 2;

/// The running retries of each network.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    running: Mutex<HashMap<String, usize>>,
    freed: Notify,
}

/// Permission to retry one attachment of a network. Released on drop.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    network: String,
}

impl Lanes {
    /// Takes a lane of the network if one is free.
    pub(super) fn take(self: &Arc<Self>, network: &str) -> Option<Lane> {
        let mut running = self.running();
        let count = running.entry(network.to_owned()).or_default();
        if *count >= OF_ONE_NETWORK {
            return None;
        }
        *count += 1;
        Some(Lane {
            lanes: Arc::clone(self),
            network: network.to_owned(),
        })
    }

    /// Whether the network has a free lane.
    pub(super) fn is_free(&self, network: &str) -> bool {
        let running = self.running();
        running
            .get(network)
            .is_none_or(|count| *count < OF_ONE_NETWORK)
    }

    /// Waits until a lane is released. Supports a single waiter.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.running.lock()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut running = self.lanes.running();
        if let Some(count) = running.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.network);
            }
        }
        drop(running);
        self.lanes.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_two_lanes_of_its_own() {
        let lanes = Arc::new(Lanes::default());
        let first = lanes.take("a");
        let second = lanes.take("a");
        assert!(first.is_some() && second.is_some());
        assert!(lanes.take("a").is_none() && !lanes.is_free("a"));
        assert!(lanes.take("b").is_some(), "another network");
        drop(first);
        assert!(lanes.is_free("a"));
        drop(second);
        assert!(lanes.running().is_empty());
    }
}
