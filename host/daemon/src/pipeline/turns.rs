//! One sandbox, one writer: requests for a container take turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cni_types::args::ContainerId;
use tokio::sync::OwnedMutexGuard;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// The containers that have requests at the moment.
#[derive(Debug, Default)]
pub(super) struct Turns {
    containers: Arc<Mutex<HashMap<ContainerId, Turn>>>,
}

/// The right to change one container. Ends with its scope.
#[derive(Debug)]
pub(super) struct Guard {
    containers: Arc<Mutex<HashMap<ContainerId, Turn>>>,
    container: ContainerId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else has this container.
    pub(super) async fn take(&self, container: &ContainerId) -> Guard {
        let turn = {
            let mut containers = self
                .containers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(containers.entry(container.clone()).or_default())
        };
        // Made before waiting, so that one who gives up waiting leaves no entry behind.
        let mut guard = Guard {
            containers: Arc::clone(&self.containers),
            container: container.clone(),
            held: None,
        };
        guard.held = Some(turn.lock_owned().await);
        guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut containers = self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.held = None;
        // Others that wait hold a clone; the last one takes the entry away.
        if containers
            .get(&self.container)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            containers.remove(&self.container);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_container_is_one_writers_at_a_time() {
        let turns = Turns::default();
        let (a, b) = (
            ContainerId::new("a").unwrap(),
            ContainerId::new("b").unwrap(),
        );
        let first = turns.take(&a).await;
        let _other = turns.take(&b).await;
        let mut second = Box::pin(turns.take(&a));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
    }

    #[tokio::test]
    async fn nothing_stays_behind_when_nobody_waits() {
        let turns = Turns::default();
        let a = ContainerId::new("a").unwrap();
        let first = turns.take(&a).await;
        let mut gave_up = Box::pin(turns.take(&a));
        assert!(futures_util::poll!(&mut gave_up).is_pending());
        drop(gave_up);
        drop(first);
        assert!(turns.containers.lock().unwrap().is_empty());
    }
}
