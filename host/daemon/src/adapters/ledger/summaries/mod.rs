//! What the metrics show of the attachments, kept between scrapes: a scrape looks at every file of the
//! ledger, and reads those that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni_types::args::ContainerId;
use libcni::cache::Cache;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::recovery::{self, Results, complete, is_lasting};
use super::{Boot, blocking, delegates_file, file, key, results};
use crate::adapters::metrics::PodNetwork;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::domain::sandbox::{RESULTS_DIR, Sandbox};

/// How long summaries are kept after the last scrape: longer than between two of a scraper.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Maximum number of files whose summaries are kept. With more, each scrape reads all of them.
const MAX_KEPT: usize = 20_000;

/// What the metrics show of an attachment.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The names of its pod, its network and its interface.
    pub labels: Arc<PodNetwork>,
    /// Whether this is the pod's default network.
    pub is_default: bool,
    /// Whether its delegates have answered.
    pub has_result: bool,
    /// As [`Entry::netns`].
    pub netns: Option<Arc<str>>,
    /// As [`Entry::namespace`].
    pub namespace: Option<Arc<Namespace>>,
}

impl Summary {
    /// The summary of an attachment.
    pub fn of(entry: &Entry) -> Self {
        Self {
            labels: Arc::new(PodNetwork::of(entry)),
            is_default: entry.is_default,
            has_result: entry.result.is_some(),
            netns: entry.netns.as_deref().map(Arc::from),
            namespace: entry.namespace.clone().map(Arc::new),
        }
    }

    /// Shares memory with another attachment of the same sandbox.
    fn share(&mut self, other: &Self) {
        if self.netns == other.netns {
            self.netns.clone_from(&other.netns);
        }
        if self.namespace == other.namespace {
            self.namespace.clone_from(&other.namespace);
        }
    }
}

/// What a scrape has found.
#[derive(Debug, Default)]
pub struct Scraped {
    /// All attachments, by container.
    pub summaries: Vec<Summary>,
    /// How many files were read for it.
    pub files_read: usize,
}

/// Reads summaries, and keeps them for the next scrape.
#[derive(Debug, Clone, Default)]
pub struct Summaries {
    kept: Arc<tokio::sync::Mutex<Kept>>,
    /// Ends the task that drops them.
    expiry: Arc<Mutex<Option<AbortHandle>>>,
}

type Kept = BTreeMap<PathBuf, Directory>;

impl Summaries {
    /// The attachments in these directories. Leaves out what cannot be read.
    pub async fn read(&self, cni_dirs: Vec<PathBuf>) -> Scraped {
        // The thread goes on if the scraper disconnects.
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        let read = move || {
            let mut scraped = Scraped::default();
            kept.retain(|dir, _| cni_dirs.contains(dir));
            for dir in cni_dirs {
                let former = kept.remove(&dir).unwrap_or_default();
                if let Ok(directory) = former.refreshed(&dir, &mut scraped.files_read) {
                    scraped.summaries.extend(directory.summaries());
                    kept.insert(dir, directory);
                }
            }
            if kept.values().map(Directory::files).sum::<usize>() > MAX_KEPT {
                kept.clear();
            }
            Ok(scraped)
        };
        let scraped = blocking(read).await.unwrap_or_default();
        self.expire_later();
        scraped
    }

    /// Drops everything unless another scrape comes first.
    fn expire_later(&self) {
        let kept = Arc::clone(&self.kept);
        let expiring = tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            kept.lock().await.clear();
        });
        let mut expiry = self.expiry.lock();
        if let Some(former) = expiry.replace(expiring.abort_handle()) {
            former.abort();
        }
    }
}

/// Tells a file from another one, and from itself before it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The files of one directory.
#[derive(Debug, Default)]
struct Directory {
    plans: BTreeMap<ContainerId, Plan>,
    /// Results that no plan has.
    unplanned: BTreeMap<String, Unplanned>,
}

/// A plan with its results.
#[derive(Debug)]
struct Plan {
    stamp: Stamp,
    /// Empty if the file is damaged.
    attachments: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    /// The name of its result.
    name: Box<str>,
    result: Option<Stamp>,
    summary: Summary,
}

#[derive(Debug)]
struct Unplanned {
    stamp: Stamp,
    /// `None` if the file is damaged, or about this project's shim.
    attachment: Option<(ContainerId, Summary)>,
}

/// Names and stamps of the results.
type Found = BTreeMap<String, Stamp>;

impl Directory {
    /// The same directory as it is now.
    ///
    /// # Errors
    /// It cannot be listed.
    fn refreshed(mut self, cni_dir: &Path, files_read: &mut usize) -> io::Result<Self> {
        // Results first: a plan is written before its results and outlives them.
        let mut found = Found::new();
        for (name, metadata) in files(&results(cni_dir))? {
            // Names of unfinished files begin with a dot.
            if !name.starts_with('.') {
                found.insert(name, Stamp::of(&metadata));
            }
        }
        let cache = Cache::new(cni_dir);
        let mut now = Self::default();
        for (name, metadata) in files(cni_dir)? {
            let Ok(container) = ContainerId::new(name) else {
                continue;
            };
            if metadata.is_dir() || container.as_str() == RESULTS_DIR {
                continue;
            }
            let stamp = Stamp::of(&metadata);
            let former = self.plans.remove(&container);
            let plan = match former.filter(|plan| plan.is_unchanged(stamp, &found)) {
                Some(plan) => plan,
                None => {
                    *files_read += 1;
                    let read = Plan::read(cni_dir, &container, stamp, &cache, &found);
                    // An error that may pass: the next scrape tries again.
                    let Some(plan) = read else { continue };
                    *files_read += plan.attachments.len();
                    plan
                }
            };
            now.plans.insert(container, plan);
        }
        for plan in now.plans.values() {
            for one in &plan.attachments {
                found.remove(&*one.name);
            }
        }
        let reader = Results {
            cache,
            boot: Boot::default(),
        };
        for (name, stamp) in found {
            let former = self.unplanned.remove(&name);
            let unplanned = match former.filter(|one| one.stamp == stamp) {
                Some(unplanned) => unplanned,
                None => {
                    *files_read += 1;
                    let Some(unplanned) = Unplanned::read(&reader, &name, stamp) else {
                        continue;
                    };
                    unplanned
                }
            };
            now.unplanned.insert(name, unplanned);
        }
        Ok(now)
    }

    fn summaries(&self) -> Vec<Summary> {
        let plans = self.plans.iter();
        let planned = plans.flat_map(|(container, plan)| {
            let attachments = plan.attachments.iter();
            attachments.map(move |one| (container, &one.summary))
        });
        let known: BTreeSet<_> = match self.unplanned.is_empty() {
            true => BTreeSet::new(),
            false => planned
                .clone()
                .map(|(container, one)| (container, one.labels.interface.as_str()))
                .collect(),
        };
        let unplanned = self.unplanned.values().filter_map(|one| {
            let (container, summary) = one.attachment.as_ref()?;
            let is_known = known.contains(&(container, summary.labels.interface.as_str()));
            (!is_known).then_some((container, summary))
        });
        let all = planned.chain(unplanned);
        all.map(|(_, summary)| summary.clone()).collect()
    }

    fn files(&self) -> usize {
        let plans = self.plans.values();
        let planned = plans.map(|plan| 1 + plan.attachments.len());
        planned.sum::<usize>() + self.unplanned.len()
    }
}

impl Plan {
    fn is_unchanged(&self, stamp: Stamp, found: &Found) -> bool {
        let mut attachments = self.attachments.iter();
        self.stamp == stamp && attachments.all(|one| found.get(&*one.name).copied() == one.result)
    }

    /// Returns `None` on an error that may pass.
    fn read(
        cni_dir: &Path,
        container: &ContainerId,
        stamp: Stamp,
        cache: &Cache,
        found: &Found,
    ) -> Option<Self> {
        let damaged = Self {
            stamp,
            attachments: Vec::new(),
        };
        let text = match file::read(&cni_dir.join(container.as_str())) {
            Ok(text) => text,
            Err(error) => return file::is_odd(&error).then_some(damaged),
        };
        let sandbox = Sandbox::recorded(container.clone());
        let Ok((entries, writer)) = delegates_file::read(&text, &sandbox) else {
            return Some(damaged);
        };
        let mut attachments: Vec<Planned> = Vec::with_capacity(entries.len());
        for mut entry in entries {
            complete(&mut entry, writer, cache).ok()?;
            let mut summary = Summary::of(&entry);
            if let Some(other) = attachments.last() {
                summary.share(&other.summary);
            }
            let name = key(&entry).to_string();
            attachments.push(Planned {
                result: found.get(&name).copied(),
                name: name.into(),
                summary,
            });
        }
        Some(Self { stamp, attachments })
    }
}

impl Unplanned {
    /// Returns `None` if the file is gone, or on an error that may pass.
    fn read(results: &Results, name: &str, stamp: Stamp) -> Option<Self> {
        let attachment = match results.cache.named(name) {
            Ok(cached) => {
                let cached = cached?;
                let container = cached.key.container_id.clone();
                let sandbox = Sandbox::recorded(container.clone());
                let entry = recovery::entry(cached, &sandbox, &sandbox.if_name, results);
                entry.map(|entry| (container, Summary::of(&entry)))
            }
            Err(error) if is_lasting(&error) => None,
            Err(_) => return None,
        };
        Some(Self { stamp, attachment })
    }
}

/// The files of a directory, which need not exist.
fn files(dir: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let files = match std::fs::read_dir(dir) {
        Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
        files => files?,
    };
    let mut found = Vec::new();
    for file in files {
        let file = file?;
        // It may be removed meanwhile.
        if let (Ok(name), Ok(metadata)) = (file.file_name().into_string(), file.metadata()) {
            found.push((name, metadata));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
