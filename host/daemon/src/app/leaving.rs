//! The end of an installation on this node: the runtime's conf goes first, so that new pods start
//! with the primary network alone; then what is recorded is carried out.

use hyper::StatusCode;

use super::{App, Error};
use crate::response;
use cni_types::error::{CniError, code};
use cnidaria_core::ports::Ledger as _;
use cnidaria_core::report;
use shim_api::admin::Left;

impl App {
    /// Finds out whether the daemon's DaemonSet can be read; returns at once if none is configured.
    pub(super) async fn watch_daemon_set(&self) {
        if let Some(removal) = &self.removal {
            removal.watch().await;
        }
    }

    /// Removes the runtime's conf, and the state of the policies from the cluster, if the daemon ends
    /// because its DaemonSet was deleted.
    pub(super) async fn leave_if_uninstalled(&self) {
        let Some(removal) = &self.removal else {
            return;
        };
        if !removal.is_uninstalled().await {
            return;
        }
        self.hide_policies().await;
        if let Some(provided) = &self.provided
            && let Err(error) = provided.remove()
        {
            tracing::error!(
                error = report::chain(&error),
                "the runtime's conf stays on the node without a daemon; remove it, or no pod starts"
            );
        }
    }

    /// Removes the runtime's conf, and stops writing it and asking shims to record DELs.
    ///
    /// # Errors
    /// [`Error::Conf`] if the conf cannot be removed.
    pub(super) fn begin_leaving(&self) -> Result<Option<String>, Error> {
        let removed = match &self.provided {
            Some(provided) => provided.remove()?,
            None => None,
        };
        self.leaving.send_replace(true);
        Ok(removed.map(|path| path.display().to_string()))
    }

    /// Answers `POST /v1/leave`.
    pub(super) async fn prepare_to_leave(&self) -> (StatusCode, Vec<u8>) {
        let conf = match self.begin_leaving() {
            Ok(conf) => conf,
            Err(error) => {
                let error = CniError::new(code::IO_FAILURE, report::chain(&error));
                return response::refused(&error);
            }
        };
        let mut left = Left {
            conf,
            ..Left::default()
        };
        for cni_dir in self.pipeline.directories() {
            if let Err(error) = self.finish_in(&cni_dir, &mut left).await {
                return response::respond(Err(error));
            }
            left.cni_dirs.push(cni_dir.display().to_string());
        }
        let body = serde_json::to_vec(&left).unwrap_or_default();
        (StatusCode::OK, body)
    }

    /// Carries out what is recorded in a directory, and adds up what stays.
    async fn finish_in(
        &self,
        cni_dir: &std::path::Path,
        left: &mut Left,
    ) -> Result<(), cnidaria_core::pipeline::Error> {
        self.pipeline.finish_deferred(cni_dir, false).await;
        // Fails while records are left, which are counted below.
        let _ = self.ledger.ask_for_deferred(cni_dir, false);
        self.pipeline.undo_gone(cni_dir).await?;
        left.deferred += count(self.ledger.deferred(cni_dir).await?.len());
        let listing = self.pipeline.entries(cni_dir).await?;
        let undos = self.pipeline.undos(cni_dir);
        let pending = listing.entries.iter().filter(|entry| {
            let mut of_container = undos
                .iter()
                .filter(|undo| undo.container_id == entry.container_id);
            of_container.any(|undo| undo.share_of(entry).is_some())
        });
        let pending = count(pending.count());
        left.undo_pending += pending;
        left.attached += count(listing.entries.len()) - pending;
        left.unreadable += count(listing.unreadable.len());
        Ok(())
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
