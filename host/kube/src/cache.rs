//! Caches objects of one kind through a watch. It never polls, and lists again only if the server
//! no longer knows the watch's resource version.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cni_types::json::Cause;
use futures_util::StreamExt;
use kube::Api;
use kube::core::Status;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connection::Connection;
use super::object::{Kind, Object};
use super::unavailable::Unavailable;

/// Minimum interval between lists, should the server expire each watch at once.
const RESTART: Duration = Duration::from_secs(1);
/// Minimum retry interval when requests need the cache.
const HURRY: Duration = Duration::from_secs(1);

/// How long a watch may fail before that is worth a warning: after a change of the kind's definition
/// the server answers 429 (its storage is initialised again) or 404 for a moment.
const MOMENT: Duration = Duration::from_secs(5);

type Objects<K> = HashMap<String, Arc<K>>;

/// The cache of one kind. Reads never wait for the server.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    objects: RwLock<Objects<K>>,
    /// Wakes tasks that wait for an object.
    changes: watch::Sender<()>,
    /// Whether the server is serving the watch.
    watching: Arc<AtomicBool>,
    /// Whether a full list has succeeded at least once.
    listed: AtomicBool,
    /// Whether a list is in progress; until it ends, the cache keeps its previous objects.
    listing: AtomicBool,
    /// Whether the server does not serve this kind.
    absent: AtomicBool,
    unavailable: Mutex<Option<Unavailable>>,
    doubt: Mutex<Doubt>,
    /// Ends the pause before the next retry.
    hurry: Notify,
}

impl<K: Kind> Cache<K> {
    pub(crate) fn new() -> Self {
        Self {
            objects: RwLock::default(),
            changes: watch::Sender::new(()),
            watching: Arc::default(),
            listed: AtomicBool::new(false),
            listing: AtomicBool::new(false),
            absent: AtomicBool::new(false),
            unavailable: Mutex::default(),
            doubt: Mutex::default(),
            hurry: Notify::new(),
        }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let objects = self.objects.read();
        objects.get(&key(namespace, name)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        objects.values().cloned().collect()
    }

    /// Waits until `deadline` for an object that `fits`.
    pub(crate) async fn wait(
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

    /// Whether the cache is in sync, as far as can be known.
    pub(crate) fn is_live(&self) -> bool {
        self.listed.load(Ordering::Relaxed) && self.watching.load(Ordering::Relaxed)
    }

    /// Whether the cache can be trusted. False during a list that replaces a broken watch, although
    /// the cache is live then.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_live() && !self.listing.load(Ordering::Relaxed)
    }

    /// Whether a full list has succeeded at least once.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// Why the cache is out of sync; `None` if it is not.
    pub(crate) fn unavailable(&self) -> Option<Unavailable> {
        if self.is_live() {
            return None;
        }
        let unavailable = self.unavailable.lock();
        let unavailable = unavailable.clone();
        let unlisted = || Unavailable::lasting(format!("{} were not listed yet", K::PLURAL));
        Some(unavailable.unwrap_or_else(unlisted))
    }

    /// Shortens the pause of a watch that failed, because a request needs it.
    pub(crate) fn hurry(&self) {
        if !self.is_live() {
            self.hurry.notify_one();
        }
    }

    /// Watches forever. `fields` is a field selector.
    pub(crate) async fn run(&self, connection: &Connection, fields: Option<&str>) {
        let client = connection.watching_client(&self.watching);
        let mut plain = watcher::Config::default();
        if let Some(fields) = fields {
            plain = plain.fields(fields);
        }
        let mut config = plain.clone().streaming_lists();
        let mut backoff = DefaultBackoff::default();
        loop {
            let earliest = Instant::now() + RESTART;
            match self.follow(&client, config.clone(), &mut backoff).await {
                WatchEnd::NoStreaming => {
                    tracing::debug!(
                        kind = K::KIND,
                        "the API server does not stream lists; listing in pages instead"
                    );
                    config = plain.clone();
                }
                WatchEnd::Expired => tokio::time::sleep_until(earliest).await,
                WatchEnd::Absent => {}
                WatchEnd::Ended => return,
            }
        }
    }

    async fn follow(
        &self,
        client: &kube::Client,
        config: watcher::Config,
        backoff: &mut DefaultBackoff,
    ) -> WatchEnd {
        let streaming = config.initial_list_strategy == watcher::InitialListStrategy::StreamingList;
        let api = Api::<Object<K>>::all(client.clone());
        // One unreadable event does not end the watch; requests for that object go to the server.
        let readable = watcher(api, config).filter(|event| {
            let unreadable = event.as_ref().err().filter(|error| is_unreadable(error));
            if let Some(error) = unreadable {
                let error = loggable(error);
                tracing::warn!(
                    kind = K::KIND,
                    error,
                    "cannot read an object of the watch; requests that need it ask the API server"
                );
            }
            std::future::ready(unreadable.is_none())
        });
        let mut events = pin!(readable);
        let mut listing = Objects::new();
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    // `Init` is emitted before the server is asked for the list.
                    if !matches!(event, Event::Init) {
                        backoff.reset();
                    }
                    self.take(event, &mut listing);
                    continue;
                }
                Err(error) => error,
            };
            match status(&error).map(|status| status.code) {
                Some(400 | 422) if streaming => return WatchEnd::NoStreaming,
                Some(410) => {
                    self.note(&error);
                    return WatchEnd::Expired;
                }
                // Without the kind there is nothing to miss. If the server serves it again, list
                // everything.
                Some(404) => {
                    self.note_absent();
                    self.pause(backoff).await;
                    return WatchEnd::Absent;
                }
                _ => self.note(&error),
            }
            self.pause(backoff).await;
        }
        WatchEnd::Ended
    }

    /// Waits with exponential backoff, shortened by [`Self::hurry`].
    async fn pause(&self, backoff: &mut DefaultBackoff) {
        let whole = backoff.next().unwrap_or(RESTART);
        let rest = whole.saturating_sub(HURRY);
        tokio::time::sleep(whole - rest).await;
        // On a timeout as on a hurry, it is time to retry.
        let _ = tokio::time::timeout(rest, self.hurry.notified()).await;
    }

    fn take(&self, event: Event<Object<K>>, listing: &mut Objects<K>) {
        match event {
            Event::Init => {
                self.listing.store(true, Ordering::Relaxed);
                listing.clear();
            }
            Event::InitApply(object) => insert(listing, object),
            Event::InitDone => {
                listing.shrink_to_fit();
                self.change(|objects| *objects = std::mem::take(listing));
                self.absent.store(false, Ordering::Relaxed);
                self.listing.store(false, Ordering::Relaxed);
                self.listed.store(true, Ordering::Relaxed);
                *self.doubt() = Doubt::default();
                tracing::debug!(kind = K::KIND, "listed all objects of a watch");
            }
            Event::Apply(object) => self.change(|objects| insert(objects, object)),
            Event::Delete(object) => self.change(|objects| {
                objects.remove(&key_of(&object));
            }),
        }
    }

    fn change(&self, edit: impl FnOnce(&mut Objects<K>)) {
        edit(&mut self.objects.write());
        self.changes.send_replace(());
    }

    /// Treats the kind as listed and empty. The watch is retried periodically, since no event
    /// announces that a kind is served.
    fn note_absent(&self) {
        self.absent.store(true, Ordering::Relaxed);
        if self.doubt().is_worth_a_warning(MOMENT) {
            tracing::warn!(kind = K::KIND, "the API server does not serve this kind");
        }
        self.change(Objects::clear);
        self.listing.store(false, Ordering::Relaxed);
        self.listed.store(true, Ordering::Relaxed);
        self.watching.store(true, Ordering::Relaxed);
    }

    fn doubt(&self) -> MutexGuard<'_, Doubt> {
        self.doubt.lock()
    }

    fn note(&self, error: &watcher::Error) {
        let reason = match status(error) {
            Some(status) => format!("the API server answers {}: {}", status.code, status.message),
            None => loggable(error),
        };
        let reason = format!("{}: {reason}", K::PLURAL);
        let was_watching = self.watching.swap(false, Ordering::Relaxed);
        if was_watching {
            *self.doubt() = Doubt::default();
        }
        let mut unavailable = self.unavailable.lock();
        let before = unavailable.take().filter(|_| !was_watching);
        // A refusal does not pass by itself.
        let patience = if is_away(error) {
            MOMENT
        } else {
            Duration::ZERO
        };
        if self.doubt().is_worth_a_warning(patience) {
            tracing::warn!(kind = K::KIND, reason, "the watch failed; retrying");
        } else {
            tracing::debug!(kind = K::KIND, reason, "the watch failed; retrying");
        }
        *unavailable = Some(match is_away(error) {
            true => Unavailable::outage(reason, before.as_ref()),
            false => Unavailable::lasting(reason),
        });
    }
}

/// How long the watch has failed, and whether a warning has said so.
#[derive(Debug, Default)]
struct Doubt {
    since: Option<Instant>,
    warned: bool,
}

impl Doubt {
    /// Called at each failure: `true` once, when they have lasted for `patience`.
    fn is_worth_a_warning(&mut self, patience: Duration) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_due = since.elapsed() >= patience && !self.warned;
        self.warned |= is_due;
        is_due
    }
}

#[derive(PartialEq, Eq)]
enum WatchEnd {
    /// The server does not support streaming lists.
    NoStreaming,
    /// The watch's resource version has expired.
    Expired,
    /// The server does not serve the kind.
    Absent,
    Ended,
}

/// The status with which the server answered or ended a list or watch.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// An error for logs. Objects that cannot be decoded are never quoted: a conf may contain
/// credentials.
fn loggable(error: &watcher::Error) -> String {
    match error {
        watcher::Error::WatchFailed(kube::Error::SerdeError(json))
        | watcher::Error::WatchStartFailed(kube::Error::SerdeError(json))
        | watcher::Error::InitialListFailed(kube::Error::SerdeError(json)) => {
            format!("it cannot be decoded: {}", Cause::of(json))
        }
        error if is_unreadable(error) => "it does not have the expected shape".to_owned(),
        error => cnidaria_core::report::chain(error),
    }
}

/// Whether the server is unreachable or not ready yet.
fn is_away(error: &watcher::Error) -> bool {
    match status(error) {
        None => true,
        Some(status) => matches!(status.code, 410 | 429 | 500..),
    }
}

/// Whether a single event cannot be decoded. `kube` then takes the line for a `Status`, as any
/// object fits one; the server's own always have a code.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use cnidaria_core::domain::nad::Nad;

    /// The length of the pause after twenty failed attempts.
    async fn pause(cache: &Cache<Nad>) -> Duration {
        let mut backoff = DefaultBackoff::default();
        let _ = backoff.by_ref().take(20).count();
        let before = Instant::now();
        cache.pause(&mut backoff).await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn failed_list_is_retried_with_backoff() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let server = tower::service_fn(move |_: hyper::Request<kube::client::Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = hyper::Response::builder().status(500);
            std::future::ready(answer.body(Full::<Bytes>::default()))
        });
        let client = kube::Client::new(server, "default");
        let cache = Cache::<Nad>::new();
        let (config, mut backoff) = (watcher::Config::default(), DefaultBackoff::default());
        let following = cache.follow(&client, config, &mut backoff);
        let hour = tokio::time::timeout(Duration::from_secs(3600), following);
        assert!(hour.await.is_err());
        let tries = tries.load(Ordering::Relaxed);
        assert!((60..400).contains(&tries), "{tries} in an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn only_lasting_failures_are_worth_a_warning() {
        let mut doubt = Doubt::default();
        assert!(
            !doubt.is_worth_a_warning(MOMENT),
            "its definition was changed"
        );
        tokio::time::advance(MOMENT).await;
        assert!(doubt.is_worth_a_warning(MOMENT));
        assert!(!doubt.is_worth_a_warning(MOMENT), "once");
        assert!(Doubt::default().is_worth_a_warning(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn hurry_cuts_one_backoff_short() {
        let cache = Cache::new();
        assert!(pause(&cache).await >= Duration::from_secs(15));
        cache.hurry();
        cache.hurry();
        assert_eq!(pause(&cache).await, HURRY);
        assert!(pause(&cache).await >= Duration::from_secs(15), "once");
    }
}
