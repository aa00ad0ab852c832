//! The directory's objects in memory, kept current by inotify, without polling.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};
use tokio::sync::watch;

use cnidaria_core::domain::manifest::is_manifest;

use super::object::{self, Objects};

#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Each file's objects when it was last readable.
    files: Mutex<BTreeMap<PathBuf, Arc<Objects>>>,
    all: watch::Sender<Arc<Objects>>,
    /// Unread inotify events. The kernel queues them before a writer's call returns, so that a
    /// lookup which drains them first sees everything written before it.
    unseen: Mutex<Inotify>,
}

impl Store {
    pub(super) fn open(dir: &Path) -> io::Result<Arc<Self>> {
        let inotify = watched(dir)?;
        let store = Arc::new(Self {
            dir: dir.to_owned(),
            files: Mutex::default(),
            all: watch::Sender::new(Arc::default()),
            unseen: Mutex::new(watched(dir)?),
        });
        store.reload()?;
        let events = inotify.into_event_stream(vec![0; 4096])?;
        let watching = Arc::downgrade(&store);
        tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            while events.next().await.is_some() {
                let Some(store) = watching.upgrade() else {
                    return;
                };
                store.reload_or_log();
            }
        });
        Ok(store)
    }

    /// What `select` finds now or within `patience`.
    pub(super) async fn find<T>(
        &self,
        patience: Duration,
        select: impl Fn(&Objects) -> Option<T>,
    ) -> Option<T> {
        self.catch_up();
        let mut changes = self.all.subscribe();
        if let Some(found) = select(&changes.borrow_and_update()) {
            return Some(found);
        }
        let search = async {
            loop {
                if let Some(found) = select(&changes.borrow_and_update()) {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(patience, search)
            .await
            .unwrap_or_default()
    }

    /// What `select` finds now.
    pub(super) fn look<T>(&self, select: impl Fn(&Objects) -> Option<T>) -> Option<T> {
        self.catch_up();
        select(&self.all.borrow())
    }

    /// Reads the files that changed since the last lookup.
    fn catch_up(&self) {
        let mut buffer = [0; 4096];
        let mut changed = false;
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        // Until the queue is empty (WouldBlock).
        while unseen
            .read_events(&mut buffer)
            .is_ok_and(|mut events| events.next().is_some())
        {
            changed = true;
        }
        drop(unseen);
        if changed {
            self.reload_or_log();
        }
    }

    fn reload_or_log(&self) {
        if let Err(error) = self.reload() {
            tracing::error!(dir = %self.dir.display(), %error, "cannot read the directory of manifests; keeping its previous state");
        }
    }

    fn reload(&self) -> io::Result<()> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.dir)?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.retain(|path| is_manifest(path));
        paths.sort();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|path, _| paths.contains(path));
        for path in paths {
            match object::read(&path) {
                Ok(objects) => {
                    files.insert(path, Arc::new(objects));
                }
                // Keep the file's last good content: a half-finished edit must not remove networks.
                Err(reason) => {
                    tracing::error!(file = %path.display(), reason, "malformed manifest")
                }
            }
        }
        let mut all = Objects::default();
        files.values().for_each(|objects| all.merge(objects));
        self.all.send_replace(Arc::new(all));
        Ok(())
    }
}

/// Watches a directory for manifests that are created, changed or deleted.
fn watched(dir: &Path) -> io::Result<Inotify> {
    let inotify = Inotify::init()?;
    let changes =
        WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
    inotify.watches().add(dir, changes)?;
    Ok(inotify)
}
