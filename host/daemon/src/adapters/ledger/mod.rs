//! The ledger: a file per sandbox in Multus' format, and libcni's result cache beside it. The file
//! exists from before the first delegate runs until the last one is undone.

mod aside;
mod boot;
mod count;
mod deferred;
mod delegates_file;
mod directories;
mod durability;
mod file;
mod forgotten;
mod index;
mod listing;
mod predecessor;
mod recovery;
mod result_cache;
mod seal;
mod stored;
mod summaries;
mod undos;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cni_types::args::ContainerId;
use futures_util::future::BoxFuture;
use libcni::cache::{self, Cache};
use parking_lot::Mutex;

use self::aside::{clear, move_dir, set_aside};
pub use self::boot::Boot;
use self::count::Count;
use self::delegates_file::Writer;
use self::durability::Disk;
pub use self::index::{Index, Indexed};
use self::recovery::{Results, Unplanned, complete};
use self::result_cache::{from_cache, key};
pub use self::summaries::{Summaries, Summary};
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::sandbox::{RESULTS_DIR, Sandbox};
use cnidaria_core::ports::{
    DeferredDel, Directory, Ledger, LedgerError, Listing, Lost, Recorded, Remembered, Undo,
};
use config::own::Durability;

/// Pending undos, a file per sandbox. Container ids never begin with a dot.
const UNDO_DIR: &str = ".undo";
/// Containers that operators had forgotten, an empty object each.
const FORGOTTEN_DIR: &str = ".forgotten";
/// Damaged files that were replaced by recovered ones.
const DAMAGED_DIR: &str = ".damaged";

/// The ledger on the file system. Writes are small and reach the page cache only, so they run in
/// place; those that wait for the disk run on a blocking thread.
#[derive(Debug, Clone)]
pub struct Files {
    disk: Disk,
    count: Count,
    /// Further delegates that can be undone without a namespace.
    deferrable: Arc<BTreeSet<String>>,
    /// Older files without a namespace identity are from an earlier boot.
    boot: Boot,
    /// The file that remembers further directories.
    remembered: Option<PathBuf>,
    /// The directories of the last daemon, if it had others.
    before: Option<Directory>,
    /// What policies look at.
    index: Option<Arc<Index>>,
    /// The directories in which shims may record DELs.
    asked: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Files {
    /// A ledger that syncs its writes as `durability` says.
    pub fn new(durability: Durability) -> Self {
        Self {
            disk: Disk::new(durability),
            count: Count::new(usize::MAX),
            deferrable: Arc::default(),
            boot: Boot::default(),
            remembered: None,
            before: None,
            index: None,
            asked: Arc::default(),
        }
    }

    /// Keeps an index current.
    #[must_use]
    pub(crate) fn with_index(mut self, index: &Indexed) -> Self {
        self.index = Some(Arc::clone(&index.0));
        self
    }

    /// Limits the number of sandboxes in one directory.
    #[must_use]
    pub fn with_limit(mut self, sandboxes: usize) -> Self {
        self.count = Count::new(sandboxes);
        self
    }

    /// Adds delegates whose DEL may run after the namespace is gone.
    #[must_use]
    pub(crate) fn with_deferrable(mut self, delegates: BTreeSet<String>) -> Self {
        self.deferrable = Arc::new(delegates);
        self
    }

    /// Recognises files of boots before `boot` by their age.
    #[must_use]
    pub fn with_boot(mut self, boot: Boot) -> Self {
        self.boot = boot;
        self
    }

    /// How many sandboxes a directory has, without reading them.
    pub fn count(&self, cni_dir: &Path) -> usize {
        count::count(cni_dir)
    }

    /// Removes unfinished files of a killed daemon, and what stands in the place of directories.
    ///
    /// # Errors
    /// [`LedgerError`]; only disk space is lost then.
    pub fn sweep(&self, cni_dir: &Path) -> Result<(), LedgerError> {
        let own = [
            cni_dir.join(UNDO_DIR),
            cni_dir.join(FORGOTTEN_DIR),
            cni_dir.join(shim_api::deferred::DIR),
            results(cni_dir),
        ];
        for dir in &own {
            clear(dir, cni_dir);
        }
        for dir in [cni_dir]
            .into_iter()
            .chain(own.iter().map(PathBuf::as_path))
        {
            files::sweep(dir).map_err(failed("sweep", dir))?;
        }
        Ok(())
    }

    async fn replace(&self, path: PathBuf, text: Vec<u8>) -> Result<(), LedgerError> {
        let replaced = if self.disk.is_strict() {
            let (disk, path) = (self.disk.clone(), path.clone());
            blocking(move || file::replace(&path, &text, &disk)).await
        } else {
            file::replace(&path, &text, &self.disk).inspect(|()| self.disk.sync_soon(&path))
        };
        replaced.map_err(failed("write", &path))
    }

    /// As [`Self::replace`], in one of the ledger's own directories below `cni_dir`. Something else
    /// that took the directory's place since the daemon started is moved away.
    async fn replace_in(
        &self,
        cni_dir: &Path,
        path: PathBuf,
        text: Vec<u8>,
    ) -> Result<(), LedgerError> {
        let first = self.replace(path.clone(), text.clone()).await;
        let is_cleared = || path.parent().is_some_and(|dir| clear(dir, cni_dir));
        if first.is_ok() || !is_cleared() {
            return first;
        }
        self.replace(path, text).await
    }

    async fn write_result(&self, cni_dir: &Path, result: &cache::Entry) -> Result<(), LedgerError> {
        let cache = Cache::new(cni_dir).with_sync(self.disk.is_strict());
        if self.disk.is_strict() {
            let result = result.clone();
            return blocking(move || Ok(cache.write(&result)))
                .await
                .map_err(failed("write", &results(cni_dir)))?
                .map_err(from_cache);
        }
        cache.write(result).map_err(from_cache)?;
        self.disk.sync_soon(&cache.path(&result.key));
        Ok(())
    }

    /// Moves damaged results away, so that other readers do not trust them.
    fn set_results_aside(&self, cni_dir: &Path, damaged: &[PathBuf]) {
        for path in damaged {
            set_aside(path, cni_dir);
            if let Err(error) = std::fs::remove_file(path) {
                tracing::error!(path = %path.display(), %error, "cannot remove a damaged result; requests skip it");
            }
        }
    }

    fn results_of(&self, cni_dir: &Path) -> Results {
        Results {
            cache: Cache::new(cni_dir),
            boot: self.boot,
        }
    }
}

#[async_trait]
impl Ledger for Files {
    async fn record(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let path = cni_dir.join(first.container_id.as_str());
        // The limit holds for new files only: a DEL may have to rewrite an existing one.
        let is_new = path.symlink_metadata().is_err();
        if is_new && !self.count.admits(cni_dir) {
            return Err(LedgerError::Full {
                dir: cni_dir.to_owned(),
                limit: self.count.limit(),
            });
        }
        let deferrable = deferred::outlives_netns(entries, &self.deferrable);
        let text = delegates_file::write(entries, deferrable);
        self.replace(path, text).await?;
        if is_new {
            self.count.one_more(cni_dir);
        }
        if let Some(index) = &self.index {
            index.retain(cni_dir, first.container_id.as_str(), entries);
        }
        Ok(())
    }

    async fn record_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError> {
        let Some(result) = &entry.result else {
            return Ok(());
        };
        let alone = std::slice::from_ref(entry);
        let deferrable = deferred::outlives_netns(alone, &self.deferrable);
        let cached = recovery::cached(entry, result, deferrable);
        let cached = cached.map_err(|reason| LedgerError::Damaged {
            path: results(cni_dir),
            reason,
        })?;
        if let Some(index) = &self.index {
            index.add(cni_dir, entry);
        }
        let first = self.write_result(cni_dir, &cached).await;
        if first.is_ok() || !clear(&results(cni_dir), cni_dir) {
            return first;
        }
        self.write_result(cni_dir, &cached).await
    }

    async fn find(&self, cni_dir: &Path, sandbox: &Sandbox) -> Result<Recorded, LedgerError> {
        let Some(mut found) = self.stored(cni_dir, sandbox)? else {
            return Ok(Recorded::Nothing);
        };
        self.set_results_aside(cni_dir, &found.damaged_results);
        if !found.is_complete {
            let results = self.results_of(cni_dir);
            let unplanned = recovery::unplanned(&results, sandbox, &found.entries);
            let Unplanned { entries, mut lost } = unplanned.map_err(from_cache)?;
            found.entries.extend(entries);
            if let Some(lost) = lost.remove(&sandbox.container_id) {
                let known = found.entries;
                return Ok(Recorded::Partial { known, lost });
            }
        }
        if let Some(reason) = found.damage {
            let path = cni_dir.join(sandbox.container_id.as_str());
            tracing::error!(path = %path.display(), reason, "a ledger file is damaged; its attachments were recovered from the result cache");
            // The entries are usable even if the file cannot be restored.
            if let Err(error) = self.restore(cni_dir, &found.entries).await {
                tracing::error!(
                    error = cnidaria_core::report::chain(&error),
                    "cannot replace the damaged ledger file; the next request recovers it again"
                );
            }
        }
        Ok(Recorded::Whole(found.entries))
    }

    async fn restore(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let path = cni_dir.join(first.container_id.as_str());
        set_aside(&path, cni_dir);
        self.record(cni_dir, entries).await
    }

    async fn results(&self, cni_dir: &Path, sandbox: &Sandbox) -> Result<Vec<Entry>, LedgerError> {
        // After a reboot thousands of containers are looked up, each in the whole directory.
        let (results, sandbox) = (self.results_of(cni_dir), sandbox.clone());
        let found = blocking(move || Ok(recovery::from_results(&results, &sandbox))).await;
        let found = found.map_err(failed("read", &self::results(cni_dir)))?;
        found.map(|(entries, _)| entries).map_err(from_cache)
    }

    async fn recall(&self, cni_dir: &Path, entry: &mut Entry) -> Result<(), LedgerError> {
        // Nothing else records such an attachment.
        let cache = Cache::new(cni_dir);
        let damaged = complete(entry, Writer::Multus, &cache)?;
        if entry.namespace.is_none() {
            entry.namespace = self.boot.namespace(&cache.path(&key(entry)));
        }
        self.set_results_aside(cni_dir, damaged.as_slice());
        Ok(())
    }

    async fn forget_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError> {
        let cache = Cache::new(cni_dir);
        if !move_dir(&cache.path(&key(entry)), cni_dir)? {
            cache.remove(&key(entry)).map_err(from_cache)?;
        }
        if let Some(index) = &self.index {
            index.remove(cni_dir, entry);
        }
        Ok(())
    }

    async fn forget(&self, cni_dir: &Path, container: &ContainerId) -> Result<(), LedgerError> {
        let path = cni_dir.join(container.as_str());
        if remove(&path)? {
            self.count.one_less(cni_dir);
        }
        if let Some(index) = &self.index {
            index.retain(cni_dir, container.as_str(), &[]);
        }
        // In this order, so that the next daemon retries if this one is killed in between.
        self.forget_undo(cni_dir, container).await
    }

    async fn forget_undo(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        remove(&cni_dir.join(UNDO_DIR).join(container.as_str())).map(drop)
    }

    async fn set_plan_aside(&self, cni_dir: &Path, container: &ContainerId) {
        set_aside(&cni_dir.join(container.as_str()), cni_dir);
    }

    async fn set_aside(&self, cni_dir: &Path, lost: &[Lost]) {
        let paths: Vec<PathBuf> = lost.iter().map(|one| one.path.clone()).collect();
        self.set_results_aside(cni_dir, &paths);
    }

    async fn deferred(&self, cni_dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        deferred::list(cni_dir).map_err(failed("read", &cni_dir.join(shim_api::deferred::DIR)))
    }

    fn deferred_changed(&self, cni_dir: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
        deferred::changed(cni_dir)
    }

    async fn deferred_dels(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<Vec<DeferredDel>, LedgerError> {
        deferred::dels(cni_dir, container)
    }

    async fn defer(&self, cni_dir: &Path, record: &DeferredDel) -> Result<(), LedgerError> {
        self.defer_del(cni_dir, record).await
    }

    async fn forget_deferred_del(
        &self,
        cni_dir: &Path,
        record: &DeferredDel,
    ) -> Result<(), LedgerError> {
        let path = deferred::path(cni_dir, &record.name);
        if !move_dir(&path, cni_dir)? {
            remove(&path)?;
        }
        self.ask_no_more(cni_dir);
        Ok(())
    }

    async fn record_undo(&self, cni_dir: &Path, undo: &Undo) -> Result<(), LedgerError> {
        let dir = cni_dir.join(UNDO_DIR);
        let path = dir.join(undo.container_id.as_str());
        let text = serde_json::to_vec(undo).expect("strings and numbers are JSON");
        self.replace_in(cni_dir, path, text).await
    }

    async fn undos(&self, cni_dir: &Path) -> Result<Vec<Undo>, LedgerError> {
        undos::read_all(&cni_dir.join(UNDO_DIR), &cni_dir.join(DAMAGED_DIR))
    }

    async fn note_forgotten(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        let path = cni_dir.join(FORGOTTEN_DIR).join(container.as_str());
        self.replace_in(cni_dir, path, b"{}".to_vec()).await
    }

    async fn drop_forgotten(
        &self,
        cni_dir: &Path,
        container: &ContainerId,
    ) -> Result<(), LedgerError> {
        remove(&cni_dir.join(FORGOTTEN_DIR).join(container.as_str())).map(drop)
    }

    async fn forgotten(&self, cni_dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
        forgotten::list(&cni_dir.join(FORGOTTEN_DIR))
    }

    async fn list(&self, cni_dir: &Path) -> Result<Listing, LedgerError> {
        // A node has up to a hundred thousand, a file each.
        let (files, dir) = (self.clone(), cni_dir.to_owned());
        blocking(move || Ok(files.read_all(&dir)))
            .await
            .map_err(failed("read", cni_dir))?
    }

    async fn directories(&self) -> Result<Remembered, LedgerError> {
        let Some(path) = &self.remembered else {
            return Ok(Remembered::default());
        };
        let remembered = directories::read(path).inspect_err(|_| {
            set_aside(path, path.parent().unwrap_or(path));
        })?;
        Ok(self.with_earlier(path, remembered).await)
    }

    async fn record_directories(&self, remembered: &Remembered) -> Result<(), LedgerError> {
        match &self.remembered {
            Some(path) => directories::write(path.clone(), remembered).await,
            None => Ok(()),
        }
    }

    async fn make_directory(&self, cni_dir: &Path) -> Result<(), LedgerError> {
        std::fs::create_dir_all(cni_dir).map_err(failed("create", cni_dir))
    }

    async fn is_missing(&self, cni_dir: &Path) -> bool {
        let found = std::fs::metadata(cni_dir);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    async fn is_used(&self, cni_dir: &Path) -> bool {
        directories::is_used(cni_dir)
    }

    async fn abandon_unused(&self, cni_dir: &Path) -> bool {
        directories::abandon_unused(cni_dir)
    }
}

fn results(cni_dir: &Path) -> PathBuf {
    cni_dir.join(RESULTS_DIR)
}

/// Returns whether there was a file to remove.
fn remove(path: &Path) -> Result<bool, LedgerError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true).map_err(failed("remove", path)),
    }
}

/// Runs work that waits for the disk on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io {
        action,
        path,
        source,
    }
}
