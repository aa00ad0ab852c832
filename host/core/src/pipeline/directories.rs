//! The ledger directories in use: the daemon's own, and those that only confs of the node's
//! runtimes name (`cniDir`). The daemon remembers the latter, so that what is recorded there is
//! resumed, listed and protected like its own, also after a restart. Confs from the cluster cannot
//! name one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::dirs::Dirs;
use super::{Pipeline, pod_netns, reboot, retrying};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{AtPath, Directory, LedgerError, Remembered};
use crate::stages::request::PodRequest;

/// More runtimes than any node has.
const MAX: usize = 32;
/// Search directories for delegates kept of earlier confs.
const MAX_BIN_DIRS: usize = 16;

/// The directories; empty until [`begin`], and then nothing is remembered.
#[derive(Debug)]
pub(super) struct Directories {
    /// The daemon's own first.
    known: Mutex<Vec<Dirs>>,
    /// Whether more were remembered, and the record of them is damaged.
    is_incomplete: AtomicBool,
    /// Held while a directory is added.
    adopting: tokio::sync::Mutex<()>,
    changed: watch::Sender<()>,
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            is_incomplete: AtomicBool::new(false),
            adopting: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Directories {
    /// All known directories, the daemon's own first.
    pub(super) fn all(&self) -> Vec<Dirs> {
        self.lock().clone()
    }

    /// A known directory, with the search path for the delegates of what it records.
    pub(super) fn of(&self, cni_dir: &Path) -> Option<Dirs> {
        let known = self.lock();
        known.iter().find(|dirs| *dirs.cni == *cni_dir).cloned()
    }

    /// The known directories without `dirs`.
    pub(super) fn besides(&self, dirs: &Dirs) -> Vec<Dirs> {
        let mut others = self.all();
        others.retain(|other| other.cni != dirs.cni);
        others
    }

    /// Whether directories may be in use that the daemon does not know.
    pub(super) fn are_incomplete(&self) -> bool {
        self.is_incomplete.load(Ordering::Relaxed)
    }

    /// Notifies of each directory that is added.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether nothing needs to be remembered of a request.
    fn has(&self, dirs: &Dirs) -> bool {
        let known = self.lock();
        known.is_empty() || known.iter().any(|known| known.covers(dirs))
    }

    fn replace(&self, known: Vec<Dirs>) {
        *self.lock() = known;
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Dirs>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dirs {
    fn covers(&self, other: &Self) -> bool {
        self.cni == other.cni && other.bin.iter().all(|dir| self.bin.contains(dir))
    }

    /// The same, searching `first` before its own.
    fn searching(&self, first: &[PathBuf]) -> Self {
        let mut bin = first.to_vec();
        for dir in self.bin.iter() {
            if bin.len() < MAX_BIN_DIRS && !bin.contains(dir) {
                bin.push(dir.clone());
            }
        }
        Self::new(&self.cni, &bin)
    }
}

/// Adds `dirs`; returns whether the directory is new.
fn add(known: &mut Vec<Dirs>, dirs: &Dirs) -> bool {
    match known.iter_mut().find(|known| known.cni == dirs.cni) {
        Some(known) => {
            *known = known.searching(&dirs.bin);
            false
        }
        None => {
            known.push(dirs.clone());
            true
        }
    }
}

/// Begins with `cni_dir`, the daemon's own directory, and those that earlier daemons remembered.
/// Schedules the undos in all of them.
pub(super) async fn begin(pipeline: &Pipeline, cni_dir: &Path) {
    let own = own(pipeline, cni_dir);
    let mut known = vec![own.clone()];
    let mut is_changed = false;
    let is_incomplete = match pipeline.ports.ledger.directories().await {
        Ok(remembered) => {
            for one in remembered.directories.iter().take(MAX - 1) {
                add(&mut known, &Dirs::new(&one.cni_dir, &one.bin_dirs));
            }
            !remembered.is_complete
        }
        Err(error) => {
            tracing::error!(
                error = crate::report::chain(&error),
                "cannot read which further cniDirs are in use; the daemon finds each with its next request, \
                 and no delegate collects garbage until the node is started again"
            );
            is_changed = true;
            true
        }
    };
    let incomplete = &pipeline.directories.is_incomplete;
    incomplete.store(is_incomplete, Ordering::Relaxed);
    is_changed |= drop_unused(pipeline, &mut known, Missing::Keep).await;
    if is_changed && let Err(error) = remember(pipeline, &own, &known).await {
        tracing::warn!(
            error = crate::report::chain(&error),
            "cannot forget unused cniDirs; the next daemon tries again"
        );
    }
    pipeline.directories.replace(known.clone());
    for dirs in known {
        retrying::resume(pipeline, &dirs.cni).await;
    }
}

/// The daemon's own directories.
pub(super) fn own(pipeline: &Pipeline, cni_dir: &Path) -> Dirs {
    let own = pipeline.overlay.own();
    let bin_dirs = own.map_or_else(|_| Vec::new(), |conf| conf.bin_dirs);
    Dirs::new(cni_dir, &bin_dirs)
}

/// What to do with directories that do not exist at present.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Their file system may be mounted later.
    Keep,
    /// Others need the room.
    Drop,
}

/// Drops the directories that have nothing recorded, except for the daemon's own; returns whether
/// there were any.
async fn drop_unused(pipeline: &Pipeline, known: &mut Vec<Dirs>, missing: Missing) -> bool {
    let ledger = &pipeline.ports.ledger;
    let before = known.len();
    let mut used = Vec::with_capacity(before);
    for (position, dirs) in known.drain(..).enumerate() {
        let is_kept = position == 0
            || (missing == Missing::Keep && ledger.is_missing(&dirs.cni).await)
            || !ledger.abandon_unused(&dirs.cni).await;
        if is_kept {
            used.push(dirs);
        }
    }
    *known = used;
    known.len() < before
}

async fn remember(pipeline: &Pipeline, own: &Dirs, known: &[Dirs]) -> Result<(), LedgerError> {
    let is_further = |dirs: &&Dirs| dirs.cni != own.cni || dirs.bin != own.bin;
    let further = known.iter().filter(is_further).map(|dirs| Directory {
        cni_dir: dirs.cni.to_path_buf(),
        bin_dirs: dirs.bin.to_vec(),
    });
    let remembered = Remembered {
        directories: further.collect(),
        is_complete: !pipeline.directories.are_incomplete(),
    };
    let ledger = &pipeline.ports.ledger;
    ledger.record_directories(&remembered).await
}

/// Remembers the directories of a request, before it changes anything. `makes` says whether the
/// request may create the directory. What an earlier daemon left in a new one is resumed.
///
/// # Errors
/// [`LedgerError::TooManyDirectories`]; an ADD must not make anything then.
pub(super) async fn adopt(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    makes: bool,
) -> Result<(), LedgerError> {
    let directories = &pipeline.directories;
    if directories.has(dirs) {
        return Ok(());
    }
    let _adopting = directories.adopting.lock().await;
    if directories.has(dirs) || (!makes && !pipeline.ports.ledger.is_used(&dirs.cni).await) {
        return Ok(());
    }
    let mut known = directories.all();
    let Some(own) = known.first().map(|own| self::own(pipeline, &own.cni)) else {
        return Ok(());
    };
    let is_new = known.iter().all(|known| known.cni != dirs.cni);
    if is_new && known.len() >= MAX {
        drop_unused(pipeline, &mut known, Missing::Drop).await;
        if known.len() >= MAX {
            return Err(LedgerError::TooManyDirectories {
                dir: dirs.cni.to_path_buf(),
                limit: MAX,
            });
        }
    }
    add(&mut known, dirs);
    if makes {
        // One that is missing later has lost what it records.
        pipeline.ports.ledger.make_directory(&dirs.cni).await?;
    }
    if let Err(error) = remember(pipeline, &own, &known).await {
        // The runtime's next request after a restart makes up for it.
        tracing::error!(
            dir = %dirs.cni.display(),
            error = crate::report::chain(&error),
            "cannot remember a further cniDir: after a restart, undos in it wait for its runtime's next request"
        );
    }
    if is_new {
        tracing::info!(dir = %dirs.cni.display(), "a further cniDir is in use");
        // Before the request, which may be the DEL that cancels an undo.
        retrying::resume(pipeline, &dirs.cni).await;
        let (pipeline, dirs) = (Arc::clone(pipeline), dirs.clone());
        tokio::spawn(async move { reboot::undo(&pipeline, &dirs).await });
    }
    directories.replace(known);
    Ok(())
}

/// Directs a DEL or CHECK to the directory that has the container, if its own has nothing: the
/// runtime's conf may have named another one at the ADD. The same is an attachment of the same
/// container and interface, of the same runtime network or, if the conf was renamed as well, in the
/// same namespace. One whose namespace is gone cannot be in use.
pub(super) async fn locate(pipeline: &Pipeline, request: &mut PodRequest) {
    let dirs = Dirs::of(&request.conf);
    let others = pipeline.directories.besides(&dirs);
    if others.is_empty() || request.conf.name.is_none() {
        return;
    }
    // Entries keep the paths at which they were made.
    let sandbox = Sandbox {
        netns: None,
        ..request.sandbox()
    };
    let load = |dirs: Dirs| {
        let sandbox = &sandbox;
        async move { pipeline.ports.ledger.load(&dirs.cni, sandbox).await }
    };
    let results = pipeline.ports.ledger.results(&dirs.cni, &sandbox);
    if !matches!(load(dirs.clone()).await, Ok(None))
        || results.await.map_or(true, |results| !results.is_empty())
    {
        return;
    }
    let mut gone = None;
    for other in others {
        let is_own = |entry: &&Entry| entry.is_default && entry.if_name == request.if_name;
        let Ok(Some(entries)) = load(other.clone()).await else {
            continue;
        };
        let Some(entry) = entries.iter().find(is_own) else {
            continue;
        };
        if entry.runtime_network == request.conf.name
            || is_in_namespace(pipeline, request, entry).await
        {
            return direct(request, &other);
        }
        if gone.is_none() && pod_netns::has_ended(pipeline, &other, entry).await {
            gone = Some(other);
        }
    }
    if let Some(other) = gone {
        direct(request, &other);
    }
}

/// Whether an attachment was made in the namespace that a request names.
async fn is_in_namespace(pipeline: &Pipeline, request: &PodRequest, entry: &Entry) -> bool {
    let netns = request.netns.as_deref().filter(|path| !path.is_empty());
    let (Some(netns), Some(recorded)) = (netns, &entry.namespace) else {
        return false;
    };
    let found = pipeline.ports.pod_network.at(Path::new(netns)).await;
    matches!(found, Ok(AtPath::Pod(found)) if recorded.is(&found))
}

/// Directs a hot-plug, which has no conf of the runtime, to the directory that has its pod.
pub(super) async fn locate_pod(pipeline: &Pipeline, request: &mut PodRequest) {
    let sandbox = Sandbox::recorded(request.container_id.clone());
    let mut partial = None;
    for dirs in pipeline.directories.all() {
        match pipeline.ports.ledger.load(&dirs.cni, &sandbox).await {
            Ok(Some(entries)) if entries.iter().any(|entry| entry.is_default) => {
                return direct(request, &dirs);
            }
            // Only hot-plugged, or damaged.
            Ok(Some(_)) | Err(_) => partial = partial.or(Some(dirs)),
            Ok(None) => {}
        }
    }
    if let Some(dirs) = partial {
        direct(request, &dirs);
    }
}

fn direct(request: &mut PodRequest, dirs: &Dirs) {
    let conf = Arc::make_mut(&mut request.conf);
    let found = Dirs::new(&dirs.cni, &conf.bin_dirs).searching(&dirs.bin);
    conf.cni_dir = found.cni.to_path_buf();
    conf.bin_dirs = found.bin.to_vec();
}
