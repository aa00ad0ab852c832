//! The network namespaces of a simulated node: each is a pod's, and empty.

use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;
use cni_types::args::IfName;
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::ports::{AtPath, Inside, PodNetwork, PodNetworkError};
use shim_api::deferred::NetnsId;

use super::World;

/// The only boot.
const BOOT: &str = "simulated";

fn namespace() -> Namespace {
    Namespace {
        boot_id: BOOT.to_owned(),
        added_at: None,
        file: NetnsId::default(),
        cookie: None,
    }
}

#[async_trait]
impl PodNetwork for World {
    async fn look(&self, _: &Path, _: &[IfName]) -> Result<Inside, PodNetworkError> {
        Ok(Inside {
            namespace: namespace(),
            existing: Vec::new(),
        })
    }

    async fn at(&self, _: &Path) -> Result<AtPath, PodNetworkError> {
        Ok(AtPath::Pod(namespace()))
    }

    fn is_of_earlier_boot(&self, _: &Namespace) -> bool {
        false
    }

    async fn identity(&self, _: &Path) -> Option<NetnsId> {
        Some(NetnsId::default())
    }

    async fn set_default_route(
        &self,
        _: &Path,
        _: &IfName,
        _: IpAddr,
    ) -> Result<(), PodNetworkError> {
        Ok(())
    }
}
