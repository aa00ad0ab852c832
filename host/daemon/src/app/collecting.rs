//! Collects what containers without a sandbox have left, if the configuration names the runtime's
//! socket.

use std::sync::Arc;
use std::time::Duration;

use libcni::Root;
use shim_api::admin::Collected;

use super::App;
use crate::adapters::cri::{Cri, Settings};
use crate::adapters::host_local::HostLocal;
use crate::admin;
use cnidaria_core::pipeline::{Collector, Schedule};
use config::own::CollectConfig;

/// How long the runtime may take to list its sandboxes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The collector of this configuration, on a node with this root directory.
pub(super) fn collector(config: &CollectConfig, root: Option<Root>) -> Collector {
    let runtime = Cri::new(Settings {
        socket: config.runtime_socket.clone(),
        patience: PATIENCE,
        root: root.clone(),
    });
    let schedule = Schedule {
        interval: Duration::from_millis(config.interval_ms.get()),
        grace: Duration::from_millis(config.grace_ms),
    };
    Collector::new(
        Arc::new(runtime),
        Arc::new(HostLocal::below(root)),
        schedule,
    )
}

impl App {
    /// Collects until the daemon ends; returns at once if that is not configured.
    pub(super) async fn collect(&self) {
        if let Some(collector) = &self.collector {
            self.pipeline.collect(collector).await;
        }
    }

    /// What was collected last.
    pub(super) fn collected(&self) -> Vec<Collected> {
        let recent = self.collector.iter().flat_map(Collector::recent);
        recent.map(admin::collected).collect()
    }
}
