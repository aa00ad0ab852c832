//! Objects of one kind in memory, kept in step by a watch. Nothing polls, nothing is listed again
//! unless the server forgot where the watch was.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures_util::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::Connection;
use super::object::{Kind, Object};

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
    trouble: Mutex<Option<String>>,
}

impl<K: Kind> Cache<K> {
    pub(super) fn new() -> Self {
        Self {
            objects: RwLock::default(),
            changes: watch::Sender::new(()),
            watching: Arc::default(),
            listed: AtomicBool::new(false),
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
        let mut config = watcher::Config::default();
        if let Some(fields) = fields {
            config = config.fields(fields);
        }
        if self.follow(&client, config.clone().streaming_lists()).await == Outcome::NoStreaming {
            tracing::debug!(kind = K::KIND, "the API server streams no lists");
            self.follow(&client, config).await;
        }
    }

    async fn follow(&self, client: &kube::Client, config: watcher::Config) -> Outcome {
        let streaming = config.initial_list_strategy == watcher::InitialListStrategy::StreamingList;
        let api = Api::<Object<K>>::all(client.clone());
        let mut events = pin!(watcher(api, config).default_backoff());
        let mut listing = Objects::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => {
                    insert(&mut listing, object);
                }
                Ok(Event::InitDone) => {
                    listing.shrink_to_fit();
                    self.change(|objects| *objects = std::mem::take(&mut listing));
                    self.listed.store(true, Ordering::Relaxed);
                    tracing::debug!(kind = K::KIND, "listed");
                }
                Ok(Event::Apply(object)) => self.change(|objects| insert(objects, object)),
                Ok(Event::Delete(object)) => self.change(|objects| {
                    objects.remove(&key_of(&object));
                }),
                Err(error) if streaming && refuses_streaming(&error) => {
                    return Outcome::NoStreaming;
                }
                Err(error) => self.note(&error),
            }
        }
        Outcome::Ended
    }

    fn change(&self, edit: impl FnOnce(&mut Objects<K>)) {
        edit(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_replace(());
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
    Ended,
}

/// A server without the feature calls the parameter of it invalid.
fn refuses_streaming(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            matches!(status.code, 400 | 422)
        }
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
