//! Objects of one kind in memory, kept in step by a watch. Nothing polls, nothing is listed again
//! unless the server forgot where the watch was.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::Connection;
use super::object::{Kind, Object};

/// Between two lists at least, where a server forgets at once where each watch was.
const RESTART: Duration = Duration::from_secs(1);

type Objects<K> = HashMap<String, Arc<K>>;

/// The cache of one kind. Reading never waits for the server.
#[derive(Debug)]
pub(super) struct Cache<K> {
    objects: RwLock<Objects<K>>,
    /// Wakes those who wait for an object.
    changes: watch::Sender<()>,
    /// Whether the server serves the watch at present.
    watching: Arc<AtomicBool>,
    /// Whether everything was listed once.
    listed: AtomicBool,
    /// Whether everything is being listed; until then there is what was there before.
    listing: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl<K: Kind> Cache<K> {
    pub(super) fn new() -> Self {
        Self {
            objects: RwLock::default(),
            changes: watch::Sender::new(()),
            watching: Arc::default(),
            listed: AtomicBool::new(false),
            listing: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(&key(namespace, name)).cloned()
    }

    /// Waits for an object that `fits`, at most until `deadline`.
    pub(super) async fn wait(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
        fits: impl Fn(&K) -> bool,
    ) -> Option<Arc<K>> {
        let mut changes = self.changes.subscribe();
        let search = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = self.get(namespace, name).filter(|found| fits(found)) {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout_at(deadline, search)
            .await
            .unwrap_or_default()
    }

    /// Whether the cache is in step with the server, as far as can be known.
    pub(super) fn is_live(&self) -> bool {
        self.listed.load(Ordering::Relaxed) && self.watching.load(Ordering::Relaxed)
    }

    /// Whether what is here can be believed. Not so for the moment of a new list after one that broke
    /// off, in which the cache is live all the same.
    pub(super) fn is_complete(&self) -> bool {
        self.is_live() && !self.listing.load(Ordering::Relaxed)
    }

    /// Why the cache is not in step.
    pub(super) fn trouble(&self) -> String {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or_else(|| format!("{} were not listed yet", K::PLURAL))
    }

    /// Watches for ever. `fields` restricts what is watched.
    pub(super) async fn run(&self, connection: &Connection, fields: Option<&str>) {
        let client = connection.watching_client(&self.watching);
        let mut plain = watcher::Config::default();
        if let Some(fields) = fields {
            plain = plain.fields(fields);
        }
        let mut config = plain.clone().streaming_lists();
        loop {
            let earliest = Instant::now() + RESTART;
            match self.follow(&client, config.clone()).await {
                Outcome::NoStreaming => {
                    tracing::debug!(kind = K::KIND, "the API server streams no lists");
                    config = plain.clone();
                }
                Outcome::Expired => tokio::time::sleep_until(earliest).await,
                Outcome::Ended => return,
            }
        }
    }

    async fn follow(&self, client: &kube::Client, config: watcher::Config) -> Outcome {
        let streaming = config.initial_list_strategy == watcher::InitialListStrategy::StreamingList;
        let api = Api::<Object<K>>::all(client.clone());
        // The rest of the watch can be read, and whoever asks for that object asks the server.
        let readable = watcher(api, config).filter(|event| {
            let unreadable = event.as_ref().err().filter(|error| is_unreadable(error));
            if let Some(error) = unreadable {
                let error = crate::report::chain(error);
                tracing::warn!(kind = K::KIND, error, "an object cannot be understood");
            }
            std::future::ready(unreadable.is_none())
        });
        let mut events = pin!(readable.default_backoff());
        let mut listing = Objects::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    self.listing.store(true, Ordering::Relaxed);
                    listing.clear();
                }
                Ok(Event::InitApply(object)) => {
                    insert(&mut listing, object);
                }
                Ok(Event::InitDone) => {
                    listing.shrink_to_fit();
                    self.change(|objects| *objects = std::mem::take(&mut listing));
                    self.listed.store(true, Ordering::Relaxed);
                    self.listing.store(false, Ordering::Relaxed);
                    tracing::debug!(kind = K::KIND, "listed");
                }
                Ok(Event::Apply(object)) => self.change(|objects| insert(objects, object)),
                Ok(Event::Delete(object)) => self.change(|objects| {
                    objects.remove(&key_of(&object));
                }),
                Err(error) if streaming && refuses_streaming(&error) => {
                    return Outcome::NoStreaming;
                }
                Err(error) if code(&error) == Some(410) => {
                    self.note(&error);
                    return Outcome::Expired;
                }
                // The server has no such kind, so there is nothing that could be missing here.
                Err(error) if code(&error) == Some(404) => self.note_absent(),
                Err(error) => self.note(&error),
            }
        }
        Outcome::Ended
    }

    fn change(&self, edit: impl FnOnce(&mut Objects<K>)) {
        edit(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_replace(());
    }

    /// Looks again from time to time: nothing else tells that a kind begins to be served.
    fn note_absent(&self) {
        if !self.is_live() {
            tracing::warn!(kind = K::KIND, "the API server does not serve this kind");
        }
        self.change(Objects::clear);
        self.listed.store(true, Ordering::Relaxed);
        self.watching.store(true, Ordering::Relaxed);
    }

    fn note(&self, error: &watcher::Error) {
        let reason = format!("{}: {}", K::PLURAL, crate::report::chain(error));
        if self.watching.swap(false, Ordering::Relaxed) {
            tracing::warn!(kind = K::KIND, reason, "the watch broke");
        } else {
            tracing::debug!(kind = K::KIND, reason, "no watch");
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    /// The server does not know lists that are watches.
    NoStreaming,
    /// The server does not know any more what came after the version that was seen last.
    Expired,
    Ended,
}

/// A server without the feature calls the parameter of it invalid.
fn refuses_streaming(error: &watcher::Error) -> bool {
    matches!(code(error), Some(400 | 422))
}

/// What the server answered in place of a list or a watch, or told in one.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// Whether it is one event that cannot be decoded. `kube` takes the line for a `Status` then, which any
/// object can be taken for; none of the server's is without a code.
fn is_unreadable(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchFailed(kube::Error::SerdeError(_)) => true,
        watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 0,
        _ => false,
    }
}

fn insert<K: Kind>(objects: &mut Objects<K>, object: Object<K>) {
    objects.insert(key_of(&object), Arc::new(object.kept));
}

fn key_of<K: Kind>(object: &Object<K>) -> String {
    let meta = kube::Resource::meta(object);
    key(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}
