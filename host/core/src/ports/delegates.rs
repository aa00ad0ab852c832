//! Executing delegates, as the pipeline needs it.

use std::path::PathBuf;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cni_types::error::CniError;
use cni_types::result::CniResult;

use super::{Attached, Wanted};
use crate::domain::entry::{Entry, FailedAdd};

/// Executes delegates.
#[async_trait]
pub trait Delegates: Send + Sync {
    /// Adds one attachment and returns the result of the last plugin in its chain. Once `wanted`
    /// is cancelled, no further plugin starts; the running one may finish. Dropping the future
    /// kills it.
    ///
    /// # Errors
    /// [`DelegateError`]; parts of the chain may have been added.
    async fn add(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<CniResult, DelegateError>;

    /// Checks one attachment against the result of its ADD.
    ///
    /// # Errors
    /// [`DelegateError`] if it is no longer as ADD left it.
    async fn check(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError>;

    /// Asks the delegates of a network whether they can add attachments.
    ///
    /// # Errors
    /// [`DelegateError`] with the delegate's own code, 50 or 51.
    async fn status(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
    ) -> Result<(), DelegateError>;

    /// Makes the delegates of a network remove everything that belongs to no attachment in `valid`.
    ///
    /// # Errors
    /// All errors; a delegate's failure does not stop the others.
    async fn gc(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>>;

    /// Removes one attachment; succeeds if it is already gone. If its ADD returned no result, each
    /// plugin's DEL runs independently; failures of plugins that made nothing
    /// ([`Entry::made_nothing`]) are returned, but not as errors.
    ///
    /// # Errors
    /// [`DelegateError`] if something may be left behind.
    async fn del(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
    ) -> Result<Vec<DelegateError>, DelegateError>;
}

/// A delegate failed, could not be executed, or timed out.
#[derive(Debug, thiserror::Error)]
#[error("network {network:?}: {error}")]
pub struct DelegateError {
    /// The network's name as in network-status.
    pub network: String,
    /// Code, message and details: the delegate's own if it printed them.
    pub error: CniError,
    /// Whether any delegate ran, so that something may need undoing.
    pub executed: bool,
    /// Whether the delegate was killed at its deadline.
    pub timed_out: bool,
    /// Which plugin failed, and whether by its own refusal; `None` if none did.
    pub failed_at: Option<FailedAdd>,
}
