//! Objects that are watched from the moment that a policy needs them, and on most nodes never.

use std::sync::{Arc, OnceLock};

use tokio::task::AbortHandle;

use super::cache::Cache;
use super::connection::Connection;
use super::object::Kind;
use super::trouble::Trouble;

/// The cache of one kind, empty until somebody needs it.
#[derive(Debug)]
pub(super) struct OnDemand<K> {
    cache: Arc<Cache<K>>,
    watch: OnceLock<AbortHandle>,
}

impl<K: Kind> OnDemand<K> {
    pub(super) fn new() -> Self {
        Self {
            cache: Arc::new(Cache::new()),
            watch: OnceLock::new(),
        }
    }

    /// Begins to watch, once. `fields` restricts what is watched.
    pub(super) fn begin(&self, connection: &Connection, fields: Option<String>) {
        self.watch
            .get_or_init(|| super::watch(&self.cache, connection, fields));
    }

    /// An object without a namespace.
    pub(super) fn get(&self, name: &str) -> Option<Arc<K>> {
        self.cache.get("", name)
    }

    /// Why nothing can be said about the objects, although somebody needs them.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.watch.get()?;
        self.cache.hurry();
        self.cache.trouble()
    }
}

impl<K> Drop for OnDemand<K> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }
}
