//! The ledger: a file for each sandbox in the format of Multus, and the result cache of libcni
//! beside it. A file is there from before the first delegate runs until the last one is undone.

mod delegates_file;

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use cni_types::args::ContainerId;
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;
use libcni::cache::{self, Cache, Key};

use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::{Ledger, LedgerError, Undo};

/// Sandboxes that could not be undone, a file each. No container's id begins with a dot.
const UNDO_DIR: &str = ".undo";
/// A larger file is not read: it is none of ours.
const MAX_BYTES: u64 = 64 << 20;

/// The ledger on the file system. Writes are small and go to the page cache, so they are done in
/// place, without a hop to another thread.
#[derive(Debug, Default)]
pub struct Files {
    writes: AtomicU64,
}

#[async_trait]
impl Ledger for Files {
    async fn record(&self, cni_dir: &Path, entries: &[Entry]) -> Result<(), LedgerError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let path = cni_dir.join(first.container_id.as_str());
        self.replace(cni_dir, &path, &delegates_file::write(entries))
            .map_err(|source| LedgerError::Io {
                action: "write",
                path,
                source,
            })
    }

    async fn record_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError> {
        let Some(result) = &entry.result else {
            return Ok(());
        };
        let damaged = |reason: String| LedgerError::Damaged {
            path: cni_dir.join("results"),
            reason,
        };
        let raw = result
            .to_raw(result.cni_version)
            .map_err(|error| damaged(error.to_string()))?;
        let cached = cache::Entry {
            key: key(entry),
            config: entry.conf.text().as_bytes().to_vec(),
            netns: entry.netns.clone().unwrap_or_default(),
            args: entry.cni_args.clone(),
            capability_args: entry.capability_args.clone(),
            result: RawObject::from_value(&raw).map_err(|error| damaged(error.to_string()))?,
        };
        Cache::new(cni_dir).write(&cached).map_err(from_cache)
    }

    async fn load(
        &self,
        cni_dir: &Path,
        sandbox: &Sandbox,
    ) -> Result<Option<Vec<Entry>>, LedgerError> {
        let path = cni_dir.join(sandbox.container_id.as_str());
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(LedgerError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        let cache = Cache::new(cni_dir);
        match delegates_file::read(&text, sandbox) {
            Ok(mut entries) => {
                for entry in &mut entries {
                    complete(entry, &cache)?;
                }
                Ok(Some(entries))
            }
            Err(reason) => recover(&cache, sandbox, path, reason).map(Some),
        }
    }

    async fn recall(&self, cni_dir: &Path, entry: &mut Entry) -> Result<(), LedgerError> {
        complete(entry, &Cache::new(cni_dir))
    }

    async fn forget_result(&self, cni_dir: &Path, entry: &Entry) -> Result<(), LedgerError> {
        Cache::new(cni_dir).remove(&key(entry)).map_err(from_cache)
    }

    async fn forget(&self, cni_dir: &Path, container: &ContainerId) -> Result<(), LedgerError> {
        let path = cni_dir.join(container.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LedgerError::Io {
                action: "remove",
                path,
                source: error,
            }),
            _ => {
                // There is one only where something went wrong.
                let _ = std::fs::remove_file(cni_dir.join(UNDO_DIR).join(container.as_str()));
                Ok(())
            }
        }
    }

    async fn record_undo(&self, cni_dir: &Path, undo: &Undo) -> Result<(), LedgerError> {
        let dir = cni_dir.join(UNDO_DIR);
        let path = dir.join(undo.container_id.as_str());
        let text = serde_json::to_vec(undo).expect("strings and numbers are JSON");
        self.replace(&dir, &path, &text)
            .map_err(|source| LedgerError::Io {
                action: "write",
                path,
                source,
            })
    }

    async fn undos(&self, cni_dir: &Path) -> Result<Vec<Undo>, LedgerError> {
        let dir = cni_dir.join(UNDO_DIR);
        let failed = |source| LedgerError::Io {
            action: "read",
            path: dir.clone(),
            source,
        };
        let files = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(failed)?,
        };
        let mut undos = Vec::new();
        for file in files {
            let path = file.map_err(failed)?.path();
            let text = read(&path).map_err(failed)?;
            match serde_json::from_slice(&text) {
                Ok(undo) => undos.push(undo),
                // It only says when to try again; what to undo is in the sandbox's own file.
                Err(error) => tracing::error!(path = %path.display(), %error, "damaged"),
            }
        }
        Ok(undos)
    }

    async fn list(&self, cni_dir: &Path) -> Result<Vec<Entry>, LedgerError> {
        let failed = |source| LedgerError::Io {
            action: "read",
            path: cni_dir.to_owned(),
            source,
        };
        let files = match std::fs::read_dir(cni_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(failed)?,
        };
        let mut entries = Vec::new();
        for file in files {
            let file = file.map_err(failed)?;
            let Ok(container) = ContainerId::new(file.file_name().to_string_lossy()) else {
                continue;
            };
            if file.file_type().is_ok_and(|kind| kind.is_file()) {
                match self.load(cni_dir, &Sandbox::recorded(container)).await {
                    Ok(loaded) => entries.extend(loaded.into_iter().flatten()),
                    Err(error) => {
                        tracing::error!(error = crate::report::chain(&error), "damaged ledger")
                    }
                }
            }
        }
        Ok(entries)
    }
}

impl Files {
    /// Writes a file whole: whoever reads it sees the old text or the new one.
    fn replace(&self, dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = dir.join(format!(".{}-{number}.new", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(text))
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn key(entry: &Entry) -> Key {
    Key {
        network: entry.conf.name().clone(),
        container_id: entry.container_id.clone(),
        if_name: entry.if_name.clone(),
    }
}

/// Adds what the result cache knows: the result, and, for a plan that Multus wrote, the arguments
/// that it does not write into its own file.
fn complete(entry: &mut Entry, cache: &Cache) -> Result<(), LedgerError> {
    let cached = match cache.read(&key(entry)) {
        Ok(Some(cached)) => cached,
        Ok(None) => return Ok(()),
        Err(error @ cache::Error::Io { .. }) => return Err(from_cache(error)),
        Err(error) => {
            // CHECK and DEL work without a result, if less precisely.
            tracing::error!(error = crate::report::chain(&error), "a result is left out");
            return Ok(());
        }
    };
    entry.result = cached.parsed_result(entry.conf.cni_version()).ok();
    entry.cni_args = cached.args;
    entry.capability_args = cached.capability_args;
    if entry.netns.is_none() {
        entry.netns = Some(cached.netns).filter(|netns| !netns.is_empty());
    }
    Ok(())
}

/// What the result cache knows of a sandbox whose own file is damaged.
fn recover(
    cache: &Cache,
    sandbox: &Sandbox,
    path: PathBuf,
    reason: String,
) -> Result<Vec<Entry>, LedgerError> {
    let (cached, _) = cache.list().map_err(from_cache)?;
    let entries: Vec<Entry> = cached
        .into_iter()
        .filter(|cached| cached.key.container_id == sandbox.container_id)
        .filter_map(|cached| {
            let conf = NetworkConfList::parse_any(&cached.config).ok()?;
            Some(Entry {
                container_id: cached.key.container_id.clone(),
                netns: sandbox
                    .netns
                    .clone()
                    .or(Some(cached.netns.clone()).filter(|n| !n.is_empty())),
                pod: sandbox.pod.clone(),
                network: conf.name().to_string(),
                is_default: cached.key.if_name == sandbox.if_name,
                if_name: cached.key.if_name.clone(),
                result: cached.parsed_result(conf.cni_version()).ok(),
                cni_args: cached.args,
                capability_args: cached.capability_args,
                conf,
            })
        })
        .collect();
    if entries.is_empty() {
        return Err(LedgerError::Damaged { path, reason });
    }
    tracing::error!(path = %path.display(), reason, "damaged; recovered from the result cache");
    Ok(entries)
}

fn from_cache(error: cache::Error) -> LedgerError {
    match error {
        cache::Error::Io {
            action,
            path,
            source,
        } => LedgerError::Io {
            action,
            path,
            source,
        },
        cache::Error::Corrupt { path, source } => LedgerError::Damaged {
            path,
            reason: source.to_string(),
        },
        cache::Error::Mismatch { path, found } => LedgerError::Damaged {
            path,
            reason: format!("it is about {found}"),
        },
    }
}
