//! Delegates with device-info files: an attachment's file exists while its delegates run, and is
//! removed with the attachment.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;

use super::Files;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::{Attached, DelegateError, Delegates, Wanted};

/// Prepares the file before an ADD and removes it after a DEL.
pub struct Describing {
    delegates: Arc<dyn Delegates>,
    files: Files,
}

impl Describing {
    /// Wraps `delegates` with the handling of their files.
    pub fn new(delegates: Arc<dyn Delegates>, files: Files) -> Self {
        Self { delegates, files }
    }

    /// Removes the file of an attachment that is gone, or was never made. A file that stays does not
    /// keep the pod.
    async fn clean(&self, entry: &Entry) {
        let Some(path) = self.files.of_entry(entry) else {
            return;
        };
        if let Err(error) = self.files.remove(&path).await {
            tracing::warn!(
                container = %entry.container_id,
                pod = %entry.pod,
                network = entry.network,
                interface = %entry.if_name,
                %path,
                %error,
                "cannot remove the device-info file of an attachment that is gone; the file stays"
            );
        }
    }
}

#[async_trait]
impl Delegates for Describing {
    async fn add(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<CniResult, DelegateError> {
        if let Some(path) = entry.device_info_file() {
            self.files.prepare(&path, entry.device.as_ref()).await;
        }
        let added = self.delegates.add(bin_dirs, entry, wanted).await;
        // No DEL follows for a delegate that was not executed.
        if added.as_ref().is_err_and(|error| !error.executed) {
            self.clean(entry).await;
        }
        added
    }

    async fn check(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        self.delegates.check(bin_dirs, entry).await
    }

    async fn status(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
    ) -> Result<(), DelegateError> {
        self.delegates.status(bin_dirs, conf).await
    }

    async fn gc(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        self.delegates.gc(bin_dirs, conf, valid).await
    }

    /// Removes the file only after the delegates' DEL.
    async fn del(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
    ) -> Result<Vec<DelegateError>, DelegateError> {
        let refusals = self.delegates.del(bin_dirs, entry).await?;
        self.clean(entry).await;
        Ok(refusals)
    }
}
