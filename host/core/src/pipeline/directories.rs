//! The ledger directories in use: the daemon's own, and those that only confs of the node's
//! runtimes name (`cniDir`). The daemon remembers the latter, so that what is recorded there is
//! resumed, listed and protected like its own, also after a restart. Confs from the cluster cannot
//! name one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::dirs::Dirs;
use super::{Pipeline, pod_netns};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::AtPath;
use crate::stages::request::PodRequest;

/// Search directories for delegates kept of earlier confs.
const MAX_BIN_DIRS: usize = 16;

/// The directories. Until [`begin`](super::adoption::begin) there are none, and none is added.
#[derive(Debug)]
pub(super) struct Directories {
    /// The daemon's own first.
    known: Mutex<Vec<Dirs>>,
    /// Whether more were remembered, and the record of them is damaged.
    is_incomplete: AtomicBool,
    /// Held while a directory is added.
    pub(super) adopting: tokio::sync::Mutex<()>,
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

    pub(super) fn set_incomplete(&self, is_incomplete: bool) {
        self.is_incomplete.store(is_incomplete, Ordering::Relaxed);
    }

    /// Notifies of each directory that is added.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether nothing needs to be remembered of a request.
    pub(super) fn has(&self, dirs: &Dirs) -> bool {
        let known = self.lock();
        known.is_empty() || known.iter().any(|known| known.covers(dirs))
    }

    pub(super) fn replace(&self, known: Vec<Dirs>) {
        *self.lock() = known;
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Dirs>> {
        self.known.lock()
    }
}

impl Dirs {
    fn covers(&self, other: &Self) -> bool {
        self.cni == other.cni && other.bin.iter().all(|dir| self.bin.contains(dir))
    }

    /// The same, searching `first` before its own.
    pub(super) fn searching(&self, first: &[PathBuf]) -> Self {
        let mut bin = first.to_vec();
        for dir in self.bin.iter() {
            if bin.len() < MAX_BIN_DIRS && !bin.contains(dir) {
                bin.push(dir.clone());
            }
        }
        Self::new(&self.cni, &bin)
    }
}

/// The daemon's own directories.
pub(super) fn own(pipeline: &Pipeline, cni_dir: &Path) -> Dirs {
    let own = pipeline.overlay.own();
    let bin_dirs = own.map_or_else(|_| Vec::new(), |conf| conf.bin_dirs);
    Dirs::new(cni_dir, &bin_dirs)
}

/// Directs a DEL or CHECK to the directory that has the container, if its own has nothing: the
/// runtime's conf may have named another one at the ADD. The same is an attachment of the same
/// container and interface, of the same runtime network or, if the conf was renamed as well, in the
/// same namespace. One whose namespace is gone cannot be in use.
pub(super) async fn locate(pipeline: &Pipeline, request: &mut PodRequest) {
    let dirs = Dirs::of(&request.conf);
    if let Some(known) = pipeline.directories.of(&dirs.cni)
        && !dirs.covers(&known)
    {
        // Its attachments may have been made when `binDir` was another one.
        let conf = Arc::make_mut(&mut request.conf);
        conf.bin_dirs = known.searching(&conf.bin_dirs).bin.to_vec();
    }
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
