//! Caches whose watch starts when a policy first needs them, which on most nodes is never.

use std::sync::{Arc, OnceLock};

use tokio::task::AbortHandle;

use super::cache::Cache;
use super::connection::Connection;
use super::object::Kind;
use super::unavailable::Unavailable;

/// The cache of one kind, empty until first needed.
#[derive(Debug)]
pub(crate) struct OnDemand<K> {
    cache: Arc<Cache<K>>,
    watch: OnceLock<AbortHandle>,
}

impl<K: Kind> OnDemand<K> {
    pub(crate) fn new() -> Self {
        Self {
            cache: Arc::new(Cache::new()),
            watch: OnceLock::new(),
        }
    }

    /// Starts the watch, once. `fields` is a field selector.
    pub(crate) fn begin(&self, connection: &Connection, fields: Option<String>) {
        self.watch
            .get_or_init(|| super::watch(&self.cache, connection, fields));
    }

    /// Looks up a cluster-scoped object.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<K>> {
        self.cache.get("", name)
    }

    /// Whether the cache is in sync; `None` if it is not needed.
    pub(crate) fn is_live(&self) -> Option<bool> {
        self.watch.get()?;
        Some(self.cache.is_live())
    }

    /// Why the cache is out of sync, if it is needed at all.
    pub(crate) fn unavailable(&self) -> Option<Unavailable> {
        self.watch.get()?;
        self.cache.unavailable()
    }

    /// Shortens the pause of a watch that failed, if it was ever started.
    pub(crate) fn hurry(&self) {
        if self.watch.get().is_some() {
            self.cache.hurry();
        }
    }
}

impl<K> Drop for OnDemand<K> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }
}
