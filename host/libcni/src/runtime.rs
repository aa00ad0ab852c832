//! Combines plugins and result cache, like `AddNetworkList` of the Go library, for callers that
//! keep no record of their own.

use std::collections::HashSet;

use cni_types::conf::NetworkConfList;
use cni_types::json::{self, RawObject};
use cni_types::result::{self, CniResult};

use crate::cache::{self, Cache, Entry, Key};
use crate::chain::{self, Cni};
use crate::request::{RuntimeConf, ValidAttachment};

/// Executes plugins and caches their results.
#[derive(Clone, Debug)]
pub struct Runtime {
    cni: Cni,
    cache: Cache,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plugin failed, or its request could not be built.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The cached result is not valid.
    #[error("result of network {network:?} in the cache")]
    Cached {
        /// `name` of the network.
        network: String,
        /// Why it is not valid.
        #[source]
        source: result::Error,
    },
    /// The result could not be cached.
    #[error("result of network {network:?} cannot be kept")]
    Keep {
        /// `name` of the network.
        network: String,
        /// Why it could not be cached.
        #[source]
        source: KeepError,
    },
}

/// Why a result could not be cached.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The result cannot be printed.
    #[error(transparent)]
    Result(#[from] result::Error),
    /// The result is not an object.
    #[error(transparent)]
    Json(#[from] json::Error),
}

impl Runtime {
    /// Combines plugins and cache.
    pub fn new(cni: Cni, cache: Cache) -> Self {
        Self { cni, cache }
    }

    /// [`Cni::add`], then caches the configuration, parameters and result.
    ///
    /// # Errors
    /// [`Error`]. If only the cache failed, the attachment exists and the caller should call
    /// [`del`](Self::del).
    pub async fn add(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        let result = self.cni.add(list, runtime).await?;
        let entry = entry(list, runtime, &result).map_err(|source| Error::Keep {
            network: list.name().to_string(),
            source,
        })?;
        self.cache.write(&entry)?;
        Ok(result)
    }

    /// [`Cni::check`] with the cached result.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn check(&self, list: &NetworkConfList, runtime: &RuntimeConf) -> Result<(), Error> {
        let result = self.remembered(list, runtime)?;
        Ok(self.cni.check(list, runtime, result.as_ref()).await?)
    }

    /// [`Cni::del`] with the cached result if readable, then removes it from the cache.
    ///
    /// # Errors
    /// [`Error`]. If a plugin failed, the result stays cached for a retry.
    pub async fn del(&self, list: &NetworkConfList, runtime: &RuntimeConf) -> Result<(), Error> {
        // DEL must not depend on the cache: plugins can do without the result.
        let result = self.remembered(list, runtime).ok().flatten();
        self.cni.del(list, runtime, result.as_ref()).await?;
        Ok(self.cache.remove(&key(list, runtime))?)
    }

    /// Deletes cached attachments to this network that are not `valid`, then calls [`Cni::gc`].
    /// Does nothing when the configuration has `disableGC`.
    ///
    /// # Errors
    /// Every failure.
    pub async fn gc(
        &self,
        list: &NetworkConfList,
        valid: &[ValidAttachment],
    ) -> Result<(), Vec<Error>> {
        if list.disable_gc() {
            return Ok(());
        }
        let keep: HashSet<_> = valid.iter().collect();
        let (entries, unreadable) = self.cache.list().map_err(|error| vec![error.into()])?;
        let mut errors: Vec<Error> = unreadable.into_iter().map(Error::Cache).collect();
        for entry in entries {
            let attachment = ValidAttachment {
                container_id: entry.key.container_id.clone(),
                if_name: entry.key.if_name.clone(),
            };
            if entry.key.network == *list.name()
                && !keep.contains(&attachment)
                && let Err(error) = self.del(list, &entry.runtime_conf()).await
            {
                errors.push(error);
            }
        }
        if let Err(failures) = self.cni.gc(list, valid).await {
            errors.extend(failures.into_iter().map(Error::Chain));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn remembered(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        let Some(entry) = self.cache.read(&key(list, runtime))? else {
            return Ok(None);
        };
        let result = entry.parsed_result(list.cni_version());
        result.map(Some).map_err(|source| Error::Cached {
            network: list.name().to_string(),
            source,
        })
    }
}

fn key(list: &NetworkConfList, runtime: &RuntimeConf) -> Key {
    Key {
        network: list.name().clone(),
        container_id: runtime.container_id.clone(),
        if_name: runtime.if_name.clone(),
    }
}

fn entry(
    list: &NetworkConfList,
    runtime: &RuntimeConf,
    result: &CniResult,
) -> Result<Entry, KeepError> {
    let result = result.to_raw(result.cni_version)?;
    Ok(Entry {
        key: key(list, runtime),
        config: list.text().as_bytes().to_vec(),
        netns: runtime.netns.clone(),
        args: runtime.args.clone(),
        capability_args: runtime.capability_args.clone(),
        result: RawObject::from_value(&result)?,
        own: RawObject::new(),
    })
}
