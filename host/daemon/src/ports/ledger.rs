//! What is attached, as it is recorded on disk.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cni_types::args::{ContainerId, IfName};
use serde::{Deserialize, Serialize};

use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;

/// A sandbox that could not be undone: it is tried again until it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// The sandbox.
    pub container_id: ContainerId,
    /// Why it could not be undone the last time.
    pub reason: String,
    /// How many attempts have failed, of DELs, GCs and retries together.
    pub retries: u32,
    /// When it failed first, seconds since 1970.
    pub since: u64,
    /// Where its delegates are.
    pub bin_dirs: Vec<PathBuf>,
    /// The attachments that are left; empty where all that is recorded is to be undone.
    #[serde(default)]
    pub attachments: Vec<PendingUndo>,
}

/// One attachment that could not be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingUndo {
    /// `CNI_IFNAME`.
    pub if_name: IfName,
    /// The network, as [`Entry::network`]; empty in records of older daemons.
    #[serde(default)]
    pub network: String,
    /// Whether its delegate did not finish in time the last time.
    #[serde(default)]
    pub timed_out: bool,
    /// Why it could not be undone the last time, in the delegate's words.
    pub reason: String,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When it failed first, seconds since 1970.
    pub since: u64,
}

impl Undo {
    /// What is left of an interface.
    pub fn of(&self, if_name: &IfName) -> Option<&PendingUndo> {
        self.attachments.iter().find(|one| one.if_name == *if_name)
    }

    /// What is left of an attachment, also where everything is: then with what is known of the whole.
    pub fn share_of(&self, entry: &Entry) -> Option<PendingUndo> {
        if self.attachments.is_empty() {
            return Some(PendingUndo {
                if_name: entry.if_name.clone(),
                network: entry.network.clone(),
                timed_out: false,
                reason: self.reason.clone(),
                attempts: self.retries,
                since: self.since,
            });
        }
        self.of(&entry.if_name).cloned()
    }

    /// The interfaces that are left.
    pub fn if_names(&self) -> impl Iterator<Item = &IfName> {
        self.attachments.iter().map(|one| &one.if_name)
    }
}

/// The plans on disk. Every call says which directory (`cniDir`) is meant.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Records what is going to be added, before a delegate runs.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing may be added then.
    async fn record(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError>;

    /// Records the result of one attachment, after its delegate ran.
    ///
    /// # Errors
    /// [`LedgerError`]; the ADD is then rolled back.
    async fn record_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError>;

    /// Records what was found out of a sandbox in some other way, and sets its damaged file aside.
    ///
    /// # Errors
    /// [`LedgerError`]; the damaged file is then where it was.
    async fn restore(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError>;

    /// What is recorded for a sandbox, in the order of its plan; `None` where nothing is. `sandbox`
    /// tells what a ledger of Multus leaves out.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] where there is something that neither it nor the result cache tells.
    async fn load(
        &self,
        cni_dir: &Path,
        sandbox: &Sandbox,
    ) -> Result<Option<Vec<Entry>>, LedgerError>;

    /// What the result cache has of a sandbox that has no plan; empty where it has nothing.
    ///
    /// # Errors
    /// [`LedgerError::Io`] when the cache cannot be read. Damaged results are logged and left out.
    async fn results(&self, cni_dir: &Path, sandbox: &Sandbox) -> Result<Vec<Entry>, LedgerError>;

    /// Adds to an entry that is in no plan what the result cache tells of it, if it does.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn recall(&self, cni_dir: &Path, entry: &mut Entry) -> Result<(), LedgerError>;

    /// Forgets one attachment that was undone.
    ///
    /// # Errors
    /// [`LedgerError`]; undoing it once more is harmless.
    async fn forget_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError>;

    /// The containers for which a DEL was recorded while no daemon was there.
    ///
    /// # Errors
    /// [`LedgerError`] when the directory cannot be read.
    async fn deferred(&self, cni_dir: &Path) -> Result<Vec<ContainerId>, LedgerError>;

    /// The record of such a DEL, as the shim wrote it; `None` where there is none.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    async fn deferred_del(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<Option<Vec<u8>>, LedgerError>;

    /// Forgets such a DEL, if there is one: it was carried out.
    ///
    /// # Errors
    /// [`LedgerError`]; carrying it out once more is harmless.
    async fn forget_deferred(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError>;

    /// Forgets a sandbox of which nothing is left.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn forget(&self, cni_dir: &Path, container: &ContainerId) -> Result<(), LedgerError>;

    /// Keeps in mind that a sandbox could not be undone, until it is forgotten.
    ///
    /// # Errors
    /// [`LedgerError`]; it is then kept in mind until the daemon ends.
    async fn record_undo(&self, cni_dir: &Path, undo: &Undo) -> Result<(), LedgerError>;

    /// Forgets that a sandbox is to be undone; what it has stays recorded.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn forget_undo(&self, cni_dir: &Path, container: &ContainerId)
    -> Result<(), LedgerError>;

    /// Puts the files of results that are damaged where people can look at them and no request finds
    /// them.
    async fn set_aside(&self, cni_dir: &Path, lost: &[Lost]);

    /// The sandboxes that could not be undone.
    ///
    /// # Errors
    /// [`LedgerError`] when the directory cannot be read.
    async fn undos(&self, cni_dir: &Path) -> Result<Vec<Undo>, LedgerError>;

    /// All entries, for people and for GC.
    ///
    /// # Errors
    /// [`LedgerError`] when the directory cannot be read.
    async fn list(&self, cni_dir: &Path) -> Result<Listing, LedgerError>;
}

/// Everything that is recorded on the node.
#[derive(Debug, Default)]
pub struct Listing {
    /// Of every sandbox, in the order of its plan.
    pub entries: Vec<Entry>,
    /// Sandboxes that have networks, but which ones cannot be told.
    pub unreadable: Vec<(ContainerId, LedgerError)>,
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `read`, `write`, `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There are as many sandboxes as the configuration allows.
    #[error("{dir} has {limit} sandboxes, as many as cnidaria.ledgerLimit allows")]
    Full {
        /// The directory.
        dir: PathBuf,
        /// How many are allowed.
        limit: usize,
    },
    /// A file is not what this daemon or Multus writes.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The results of attachments are damaged that are in no plan, so that nothing tells how to undo
    /// them.
    #[error("{}", described(lost))]
    Lost {
        /// What else the sandbox has.
        known: Vec<Entry>,
        /// What nothing else tells of.
        lost: Vec<Lost>,
    },
}

/// An attachment of which nothing but the name of a damaged file tells.
#[derive(Debug, Clone)]
pub struct Lost {
    /// `name` of the network's conf.
    pub network: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Lost {
    /// Whether an entry is about this attachment.
    pub fn is(&self, entry: &Entry) -> bool {
        entry.conf.name().as_str() == self.network && entry.if_name.as_str() == self.if_name
    }
}

fn described(lost: &[Lost]) -> String {
    let each = lost.iter().map(|one| {
        format!(
            "{} is damaged ({}), and nothing else tells how interface {} of network {:?} was attached; \
             remove the file once the interface and its addresses are released",
            one.path.display(),
            one.reason,
            one.if_name,
            one.network
        )
    });
    each.collect::<Vec<_>>().join("; ")
}
