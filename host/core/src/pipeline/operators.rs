//! What operators ask of the daemon: lists of attachments, and forgetting them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cni_types::args::{ContainerId, IfName};

use super::dirs::Dirs;
use super::{Error, Pipeline, forget};
use crate::domain::entry::Entry;
use crate::ports::{LedgerError, Listing, Undo};

impl Pipeline {
    /// The sandboxes with pending undos.
    pub fn undos(&self, cni_dir: &Path) -> Vec<Undo> {
        self.retries.list(cni_dir)
    }

    /// Forgets a container, or one of its interfaces, without undoing anything: the operator's last
    /// resort. Returns what was forgotten.
    ///
    /// # Errors
    /// [`Error::NotAttached`] if nothing is recorded; [`Error::Busy`] if the container's turn is not
    /// free for a while; [`Error::Ledger`].
    pub async fn forget(
        self: &Arc<Self>,
        cni_dir: &Path,
        container: &ContainerId,
        if_name: Option<&IfName>,
    ) -> Result<Vec<Entry>, Error> {
        forget::forget(self, &Dirs::new(cni_dir, &[]), container, if_name).await
    }

    /// The directories that have a container or, if one is given, an interface of it: an id may be
    /// recorded in several, by an earlier use and a present one.
    pub async fn holding(&self, container: &ContainerId, if_name: Option<&IfName>) -> Vec<PathBuf> {
        forget::holding(self, container, if_name).await
    }

    /// All recorded entries of a directory, for operators.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be read.
    pub async fn entries(&self, cni_dir: &Path) -> Result<Listing, LedgerError> {
        self.ports.ledger.list(cni_dir).await
    }
}
