//! The directory's objects in memory. inotify reports changes without polling, and a thread for
//! blocking work reads them, so that requests which need no manifest do not wait for any.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::watch;

use cnidaria_core::supervision;

use super::changed::Changed;
use super::object::Objects;
use super::reader::Reader;

#[derive(Debug)]
pub(super) struct Store {
    /// Unread inotify events. The kernel queues them before a writer's call returns, so that a
    /// lookup which drains them first waits for everything written before it.
    inotify: Mutex<Inotify>,
    reading: Arc<Reading>,
    runtime: Handle,
}

/// What the store shares with the thread that reads.
#[derive(Debug)]
struct Reading {
    reader: Mutex<Reader>,
    pending: Mutex<Pending>,
    read: watch::Sender<Read>,
}

/// Changes that were not read yet.
#[derive(Debug, Default)]
struct Pending {
    changed: Changed,
    /// Number of the last change.
    number: u64,
    /// Whether a thread is reading; it takes what is added.
    is_read: bool,
}

/// What was read.
#[derive(Debug, Default)]
struct Read {
    objects: Arc<Objects>,
    /// Number of the last change that it includes.
    number: u64,
}

impl Store {
    /// Watches the directory and begins to read it.
    pub(super) fn open(dir: &Path) -> io::Result<Arc<Self>> {
        let inotify = watched(dir)?;
        let events = readable(inotify.as_fd().try_clone_to_owned()?)?;
        // An error now is one of the configuration; a later one is logged.
        std::fs::read_dir(dir)?;
        let store = Arc::new(Self {
            inotify: Mutex::new(inotify),
            reading: Arc::new(Reading {
                reader: Mutex::new(Reader::new(dir)),
                pending: Mutex::default(),
                read: watch::Sender::default(),
            }),
            runtime: Handle::current(),
        });
        store.note(Changed::all);
        let state = (events, Arc::downgrade(&store));
        supervision::spawn("watch of manifests", state, |(events, store)| {
            Box::pin(watch_events(events, store))
        });
        Ok(store)
    }

    /// What `select` finds now or within `patience`, including everything written before the call.
    pub(super) async fn find<T>(
        &self,
        patience: Duration,
        select: impl Fn(&Objects) -> Option<T>,
    ) -> Option<T> {
        let number = self.drain();
        let mut changes = self.reading.read.subscribe();
        // The sender lives as long as the store.
        let _ = changes.wait_for(|read| read.number >= number).await;
        if let Some(found) = select(&changes.borrow_and_update().objects) {
            return Some(found);
        }
        let search = async {
            loop {
                changes.changed().await.ok()?;
                if let Some(found) = select(&changes.borrow_and_update().objects) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(patience, search)
            .await
            .unwrap_or_default()
    }

    /// What `select` finds in what was read so far. Never waits.
    pub(super) fn look<T>(&self, select: impl Fn(&Objects) -> Option<T>) -> Option<T> {
        self.drain();
        select(&self.reading.read.borrow().objects)
    }

    /// Hands new events to the reader. Returns the number of the last change.
    fn drain(&self) -> u64 {
        let mut buffer = [0; 4096];
        let mut inotify = self.inotify.lock();
        // Until the queue is empty (WouldBlock).
        while let Ok(events) = inotify.read_events(&mut buffer) {
            let mut events = events.peekable();
            if events.peek().is_none() {
                break;
            }
            self.note(|changed| events.for_each(|event| changed.note(&event)));
        }
        // Before the queue is unlocked: a lookup that finds it empty finds these changes here.
        self.reading.pending().number
    }

    fn note(&self, note: impl FnOnce(&mut Changed)) {
        let mut pending = self.reading.pending();
        note(&mut pending.changed);
        pending.number += 1;
        if !std::mem::replace(&mut pending.is_read, true) {
            let reading = Arc::clone(&self.reading);
            self.runtime.spawn_blocking(move || reading.read());
        }
    }
}

/// Notices changes for as long as the store exists.
async fn watch_events(events: &AsyncFd<OwnedFd>, store: &Weak<Store>) {
    while let Ok(mut ready) = events.readable().await {
        ready.clear_ready();
        let Some(store) = store.upgrade() else {
            return;
        };
        store.drain();
    }
}

/// After a panic, lookups go on with what was read before, and the next change reads everything.
struct Running<'a>(&'a Reading);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut pending = self.0.pending();
            pending.is_read = false;
            pending.changed.all();
            let number = pending.number;
            drop(pending);
            tracing::error!(
                "reading the manifests panicked; their next change reads all of them again"
            );
            self.0.read.send_modify(|read| read.number = number);
        }
    }
}

impl Reading {
    /// Reads until no changes are pending.
    fn read(&self) {
        let _running = Running(self);
        let mut reader = self.reader.lock();
        let mut read = 0;
        while let Some((changed, number)) = self.next(read) {
            let objects = reader.read(&changed);
            self.read.send_modify(|read| {
                if let Some(objects) = objects {
                    read.objects = objects;
                }
                read.number = number;
            });
            read = number;
        }
    }

    /// The changes since number `read`.
    fn next(&self, read: u64) -> Option<(Changed, u64)> {
        let mut pending = self.pending();
        pending.is_read = pending.number > read;
        let changed = std::mem::take(&mut pending.changed);
        pending.is_read.then_some((changed, pending.number))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }
}

#[expect(unsafe_code, reason = "tokio's safe function is deprecated")]
fn readable(events: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` takes ownership of the descriptor and is the only one to close it.
    Ok(unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?)
}

/// Watches a directory for manifests that are created, changed or deleted.
fn watched(dir: &Path) -> io::Result<Inotify> {
    let inotify = Inotify::init()?;
    let changes =
        WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
    inotify.watches().add(dir, changes)?;
    Ok(inotify)
}
