//! The addresses that `host-local` has reserved, in the node's file system.

use std::collections::BTreeSet;
use std::io;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use libcni::Root;
use libcni::host_local::{self, Store};

use cnidaria_core::ports::{Reservation, Reservations};

/// Reads and removes the plugin's files.
#[derive(Debug, Default)]
pub struct HostLocal {
    /// The node's root directory, if it is not the daemon's.
    root: Option<Root>,
}

impl HostLocal {
    /// Works below another root directory, if one is given.
    pub fn below(root: Option<Root>) -> Self {
        Self { root }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match &self.root {
            Some(root) => root.run(work).await?,
            None => tokio::task::spawn_blocking(work)
                .await
                .map_err(io::Error::other)?,
        }
    }
}

#[async_trait]
impl Reservations for HostLocal {
    async fn list(&self, confs: &[NetworkConfList]) -> Vec<Reservation> {
        let stores: BTreeSet<Store> = confs.iter().flat_map(Store::of).collect();
        let mut reservations = Vec::new();
        // One at a time: the root's thread also starts delegates.
        for store in stores {
            let (dir, network) = (store.data_dir.clone(), store.network.clone());
            match self.run(move || store.list()).await {
                // The plugin writes the interface since 2019; a file without is perhaps not its own.
                Ok(found) => reservations.extend(
                    found
                        .into_iter()
                        .filter(|one| one.if_name.is_some())
                        .map(reservation),
                ),
                Err(error) => tracing::warn!(
                    dir = %dir.display(),
                    %network,
                    %error,
                    "cannot read the addresses that host-local has reserved; nothing of them is released"
                ),
            }
        }
        reservations
    }

    async fn release(&self, reservation: &Reservation) -> io::Result<bool> {
        let reserved = host_local::Reservation {
            store: Store {
                data_dir: reservation.data_dir.clone(),
                network: reservation.network.clone(),
            },
            address: reservation.address,
            container: reservation.container.clone(),
            if_name: None,
            since: reservation.since,
        };
        self.run(move || reserved.release()).await
    }
}

fn reservation(found: host_local::Reservation) -> Reservation {
    Reservation {
        data_dir: found.store.data_dir,
        network: found.store.network,
        address: found.address,
        container: found.container,
        since: found.since,
    }
}
