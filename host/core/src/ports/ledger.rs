//! The record of attachments on disk.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cni_types::args::{ContainerId, IfName};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::domain::entry::Entry;
use crate::domain::namespace::Namespace;
use crate::domain::sandbox::Sandbox;

/// A sandbox whose undo failed and is retried until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// Why the last attempt failed.
    pub reason: String,
    /// Failed attempts: those of DELs, GCs and retries together.
    pub retries: u32,
    /// Time of the first failure, seconds since 1970.
    pub since: u64,
    /// Where to find its delegates.
    pub bin_dirs: Vec<PathBuf>,
    /// The attachments still to undo; empty if everything recorded is to be undone.
    #[serde(default)]
    pub attachments: Vec<PendingUndo>,
}

/// One attachment whose undo failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingUndo {
    /// `CNI_IFNAME`.
    pub if_name: IfName,
    /// The network, as in [`Entry::network`]; empty in records of older daemons.
    #[serde(default)]
    pub network: String,
    /// The namespace of the attachment: a later attachment of a reused container id has another
    /// one. `None` if the attachment has none, and in records of older daemons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Whether its delegate timed out in the last attempt.
    #[serde(default)]
    pub timed_out: bool,
    /// Why the last attempt failed, in the delegate's words.
    pub reason: String,
    /// Failed attempts.
    pub attempts: u32,
    /// Time of the first failure, seconds since 1970.
    pub since: u64,
}

impl Undo {
    /// The pending undo of an attachment.
    pub fn of(&self, entry: &Entry) -> Option<&PendingUndo> {
        self.attachments.iter().find(|one| one.is_of(entry))
    }

    /// The pending undo of an attachment. If all of the sandbox is pending, it is built from the
    /// sandbox's own record.
    pub fn share_of(&self, entry: &Entry) -> Option<PendingUndo> {
        if self.attachments.is_empty() {
            return Some(PendingUndo {
                if_name: entry.if_name.clone(),
                network: entry.network.clone(),
                namespace: entry.namespace.clone(),
                timed_out: false,
                reason: self.reason.clone(),
                attempts: self.retries,
                since: self.since,
            });
        }
        self.of(entry).cloned()
    }

    /// The interfaces still to undo.
    pub fn if_names(&self) -> impl Iterator<Item = &IfName> {
        self.attachments.iter().map(|one| &one.if_name)
    }
}

impl PendingUndo {
    /// Whether this undo is about `entry`, rather than about another attachment that had the same
    /// interface name.
    pub fn is_of(&self, entry: &Entry) -> bool {
        let is_network = self.network.is_empty() || self.network == entry.network;
        let is_namespace = self.namespace.is_none() || self.namespace == entry.namespace;
        self.if_name == entry.if_name && is_network && is_namespace
    }

    /// Whether both are about one attachment.
    pub fn is_same(&self, other: &Self) -> bool {
        self.if_name == other.if_name
            && self.network == other.network
            && self.namespace == other.namespace
    }

    /// Whether [`is_of`](Self::is_of) cannot be relied on: the attachment has an identity, but the
    /// record, by an older daemon, has not.
    pub fn is_vague_about(&self, entry: &Entry) -> bool {
        self.namespace.is_none() && entry.namespace.is_some()
    }
}

/// A directory in which a daemon recorded something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// `cniDir` of a runtime's conf.
    pub cni_dir: PathBuf,
    /// Where to find the delegates of what it records.
    pub bin_dirs: Vec<PathBuf>,
}

/// The directories that daemons remembered, besides their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Those that are known.
    pub directories: Vec<Directory>,
    /// Whether these are all. If not, the record of others was damaged in this boot.
    pub is_complete: bool,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            is_complete: true,
        }
    }
}

/// The plans on disk. Each call names the directory (`cniDir`).
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Records a plan, before a delegate runs.
    ///
    /// # Errors
    /// [`LedgerError`]; the caller must not add anything then.
    async fn record(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError>;

    /// Records the result of one attachment, after its delegate ran.
    ///
    /// # Errors
    /// [`LedgerError`]; the caller then rolls the ADD back.
    async fn record_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError>;

    /// Records what was reconstructed of a sandbox, and sets its damaged file aside.
    ///
    /// # Errors
    /// [`LedgerError`]; the damaged file stays in place.
    async fn restore(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError>;

    /// Finds what is recorded of a sandbox. `sandbox` supplies what Multus' ledger format omits.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if a record exists that neither the ledger nor the result cache can
    /// recover.
    async fn find(&self, cni_dir: &Path, sandbox: &Sandbox) -> Result<Recorded, LedgerError>;

    /// Loads a sandbox's entries in plan order; `None` if nothing is recorded.
    ///
    /// # Errors
    /// As [`Self::find`], and [`LedgerError::Lost`] if some attachments cannot be reconstructed.
    async fn load(
        &self,
        cni_dir: &Path,
        sandbox: &Sandbox,
    ) -> Result<Option<Vec<Entry>>, LedgerError> {
        match self.find(cni_dir, sandbox).await? {
            Recorded::Nothing => Ok(None),
            Recorded::Whole(entries) => Ok(Some(entries)),
            Recorded::Partial { lost, .. } => Err(LedgerError::Lost(lost)),
        }
    }

    /// The result cache's entries for a sandbox without a plan; possibly empty.
    ///
    /// # Errors
    /// [`LedgerError::Io`] if the cache cannot be read. Damaged results are logged and skipped.
    async fn results(&self, cni_dir: &Path, sandbox: &Sandbox) -> Result<Vec<Entry>, LedgerError>;

    /// Completes an entry that is in no plan from the result cache, if it is cached.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn recall(&self, cni_dir: &Path, entry: &mut Entry) -> Result<(), LedgerError>;

    /// Removes one undone attachment.
    ///
    /// # Errors
    /// [`LedgerError`]; undoing it again is harmless.
    async fn forget_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError>;

    /// The containers with a recorded DEL.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be read.
    async fn deferred(&self, cni_dir: &Path) -> Result<Vec<ContainerId>, LedgerError>;

    /// Watches for recorded DELs from this call on. The future ends with the next one.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be watched, as when shims record no DELs.
    fn deferred_changed(&self, cni_dir: &Path) -> BoxFuture<'static, Result<(), LedgerError>>;

    /// The recorded DELs of a container, one per interface.
    ///
    /// # Errors
    /// [`LedgerError`] if one cannot be read.
    async fn deferred_dels(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<Vec<DeferredDel>, LedgerError>;

    /// Records a DEL that is answered before it is carried out, as a shim does while no daemon runs.
    ///
    /// # Errors
    /// [`LedgerError`]; the DEL is lost if this daemon does not live to carry it out.
    async fn defer(&self, cni_dir: &Path, record: &DeferredDel) -> Result<(), LedgerError>;

    /// Removes a recorded DEL that was carried out.
    ///
    /// # Errors
    /// [`LedgerError`]; carrying it out again is harmless.
    async fn forget_deferred_del(
        &self,
        cni_dir: &Path,
        record: &DeferredDel,
    ) -> Result<(), LedgerError>;

    /// Removes all recorded DELs of a container.
    ///
    /// # Errors
    /// [`LedgerError`]; carrying them out again is harmless.
    async fn forget_deferred(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        for record in self.deferred_dels(cni_dir, container).await? {
            self.forget_deferred_del(cni_dir, &record).await?;
        }
        Ok(())
    }

    /// Removes a sandbox that has nothing left.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn forget(&self, cni_dir: &Path, container: &ContainerId) -> Result<(), LedgerError>;

    /// Persists a pending undo, until the sandbox is removed.
    ///
    /// # Errors
    /// [`LedgerError`]; the pending undo is then kept in memory only.
    async fn record_undo(&self, cni_dir: &Path, undo: &Undo) -> Result<(), LedgerError>;

    /// Removes a pending undo; the sandbox's entries stay recorded.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn forget_undo(&self, cni_dir: &Path, container: &ContainerId)
    -> Result<(), LedgerError>;

    /// Notes, for later daemons, that an operator had a container forgotten.
    ///
    /// # Errors
    /// [`LedgerError`]; the next daemon then does not know of it.
    async fn note_forgotten(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        let _ = (cni_dir, container);
        Ok(())
    }

    /// Removes such a note: the container is attached again.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn drop_forgotten(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        let _ = (cni_dir, container);
        Ok(())
    }

    /// The containers that operators had forgotten and that were not attached since.
    ///
    /// # Errors
    /// [`LedgerError`] if the notes cannot be read.
    async fn forgotten(&self, cni_dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        let _ = cni_dir;
        Ok(Vec::new())
    }

    /// Copies a container's damaged file to where operators can inspect it, before it is removed.
    async fn set_plan_aside(&self, cni_dir: &Path, container: &ContainerId);

    /// Moves damaged result files to where operators can inspect them and no request reads them.
    async fn set_aside(&self, cni_dir: &Path, lost: &[Lost]);

    /// The pending undos.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be read.
    async fn undos(&self, cni_dir: &Path) -> Result<Vec<Undo>, LedgerError>;

    /// All entries, for operators and for GC.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be read.
    async fn list(&self, cni_dir: &Path) -> Result<Listing, LedgerError>;

    /// The remembered directories, besides the daemon's own.
    ///
    /// # Errors
    /// [`LedgerError`] if they cannot be read. A damaged record is set aside.
    async fn directories(&self) -> Result<Remembered, LedgerError> {
        Ok(Remembered::default())
    }

    /// Remembers these directories across restarts, and no others.
    ///
    /// # Errors
    /// [`LedgerError`]; the next daemon then finds each with its runtime's next request.
    async fn record_directories(&self, remembered: &Remembered) -> Result<(), LedgerError> {
        let _ = remembered;
        Ok(())
    }

    /// Makes sure that a directory exists, before it is remembered.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be created.
    async fn make_directory(&self, cni_dir: &Path) -> Result<(), LedgerError> {
        let _ = cni_dir;
        Ok(())
    }

    /// Whether a directory is missing, perhaps because its file system is not mounted yet.
    async fn is_missing(&self, cni_dir: &Path) -> bool {
        let _ = cni_dir;
        false
    }

    /// Whether anything may be recorded in a directory.
    async fn is_used(&self, cni_dir: &Path) -> bool {
        let _ = cni_dir;
        true
    }

    /// Lets shims record nothing more in a directory that is not used; returns whether it is not.
    async fn abandon_unused(&self, cni_dir: &Path) -> bool {
        let _ = cni_dir;
        false
    }
}

/// A DEL that a shim or the daemon recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredDel {
    /// The record's file.
    pub name: String,
    /// A [`Record`](shim_api::deferred::Record).
    pub text: Vec<u8>,
}

/// Everything recorded on the node.
#[derive(Debug, Default)]
pub struct Listing {
    /// The entries of each sandbox, in plan order.
    pub entries: Vec<Entry>,
    /// Sandboxes whose entries cannot be read.
    pub unreadable: Vec<(ContainerId, LedgerError)>,
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    Io {
        /// The operation, such as `read`, `write`, `watch` or `remove`.
        action: &'static str,
        /// The file it failed on.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The ledger holds as many sandboxes as the configuration allows.
    #[error("{dir} has {limit} sandboxes, as many as cnidaria.ledgerLimit allows")]
    Full {
        /// The ledger's directory.
        dir: PathBuf,
        /// The configured limit.
        limit: usize,
    },
    /// Confs of runtimes name more directories than the daemon remembers.
    #[error("cniDir {dir}: {limit} other directories are in use already")]
    TooManyDirectories {
        dir: PathBuf,
        /// How many are remembered.
        limit: usize,
    },
    /// A file does not have the format of this daemon or of Multus.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Results are damaged whose attachments are in no plan, so that how to undo them is unknown.
    #[error("{}", described(.0))]
    Lost(Vec<Lost>),
}

/// What is recorded of a sandbox.
#[derive(Debug)]
pub enum Recorded {
    /// Nothing.
    Nothing,
    /// All its attachments, in plan order.
    Whole(Vec<Entry>),
    /// Some of its attachments. The results of others are damaged, and no plan has them.
    Partial {
        /// The attachments that can be undone.
        known: Vec<Entry>,
        /// The attachments that cannot be reconstructed.
        lost: Vec<Lost>,
    },
}

/// An attachment known only from a damaged file's name.
#[derive(Debug, Clone)]
pub struct Lost {
    /// `name` of the network's conf.
    pub network: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// The damaged file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Lost {
    /// Whether `entry` is this attachment.
    pub fn is(&self, entry: &Entry) -> bool {
        entry.conf.name().as_str() == self.network && entry.if_name.as_str() == self.if_name
    }
}

fn described(lost: &[Lost]) -> String {
    let each = lost.iter().map(|one| {
        format!(
            "{} is damaged ({}), and no other record describes interface {} of network {:?}; \
             remove the file once the interface and its addresses are released",
            one.path.display(),
            one.reason,
            one.if_name,
            one.network
        )
    });
    each.collect::<Vec<_>>().join("; ")
}
