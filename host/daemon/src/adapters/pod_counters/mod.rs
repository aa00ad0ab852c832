//! Traffic counters of pods' secondary interfaces, read at a scrape.
//!
//! A thread that ends with the scrape enters one namespace after the other. If one holds it up, the
//! scrape goes on without the rest, and later ones leave that namespace out until it answers.

mod namespace;
mod table;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use table::{Direction, Traffic};

use super::ledger::Summary;
use super::metrics::PodNetwork;
use cnidaria_core::domain::namespace::Namespace;
use namespace::Files;

/// How long a scrape waits for all namespaces together. They take microseconds each.
const PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of interfaces, each of which has eight series.
const MAX_INTERFACES: usize = 1250;
/// Namespaces that may hold up a thread each; beyond that, none is read.
const MAX_HUNG: usize = 4;

/// The secondary interfaces of one sandbox.
#[derive(Debug)]
pub(super) struct Pod {
    netns: PathBuf,
    namespace: Arc<Namespace>,
    interfaces: Vec<Arc<PodNetwork>>,
}

/// What a scrape has found.
#[derive(Debug, Default)]
pub struct Reading {
    /// Counters of each interface.
    pub interfaces: Vec<(Arc<PodNetwork>, Traffic)>,
    /// Interfaces without counters, by reason.
    pub left_out: LeftOut,
}

/// How many interfaces have no counters, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// There are too many.
    pub limit: usize,
    /// Their namespaces were recorded without an identity, by Multus.
    pub unidentified: usize,
    /// Their namespaces, or they themselves, are gone or cannot be read.
    pub unreadable: usize,
    /// Their namespaces did not answer in time.
    pub hung: usize,
}

impl LeftOut {
    /// Each reason with its number.
    pub fn all(self) -> [(&'static str, usize); 4] {
        [
            ("limit", self.limit),
            ("unidentified", self.unidentified),
            ("unreadable", self.unreadable),
            ("hung", self.hung),
        ]
    }
}

type Read = dyn Fn(&Pod) -> io::Result<String> + Send + Sync;

/// Reads the counters.
pub struct PodCounters {
    read: Arc<Read>,
    /// Namespaces that hold up a thread.
    hung: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// One scrape reads at a time.
    turn: tokio::sync::Mutex<()>,
    patience: Duration,
}

impl PodCounters {
    /// Reads namespaces by their paths below the node's root directory.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn below(root: Option<&Path>) -> io::Result<Self> {
        let files = Files::below(root)?;
        Ok(Self::by(move |pod| files.read(pod), PATIENCE))
    }

    fn by(
        read: impl Fn(&Pod) -> io::Result<String> + Send + Sync + 'static,
        patience: Duration,
    ) -> Self {
        Self {
            read: Arc::new(read),
            hung: Arc::default(),
            turn: tokio::sync::Mutex::new(()),
            patience,
        }
    }

    /// The counters of the secondary interfaces among some attachments.
    pub async fn read(&self, attachments: &[Summary]) -> Reading {
        let _turn = self.turn.lock().await;
        let mut reading = Reading::default();
        let mut pods = pods(attachments, &mut reading.left_out);
        let hung = self.hung.lock().clone();
        pods.retain(|pod| {
            let is_hung = hung.len() >= MAX_HUNG || hung.contains(&pod.netns);
            if is_hung {
                reading.left_out.hung += pod.interfaces.len();
            }
            !is_hung
        });
        if pods.is_empty() {
            return reading;
        }
        let work = Arc::new(Mutex::new(Work {
            reading,
            waiting: pods.iter().map(|pod| pod.interfaces.len()).sum(),
            visited: None,
            is_abandoned: false,
        }));
        let (done, finished) = oneshot::channel();
        let task = Task {
            read: Arc::clone(&self.read),
            hung: Arc::clone(&self.hung),
            work: Arc::clone(&work),
        };
        // Drops also if the scraper disconnects, which drops this future.
        let leaving = Leaving(task.clone());
        let thread = std::thread::Builder::new().name("pod-counters".to_owned());
        let started = thread.spawn(move || {
            task.run(&pods);
            let _ = done.send(());
        });
        match started {
            Ok(_) => drop(tokio::time::timeout(self.patience, finished).await),
            Err(error) => tracing::warn!(%error, "cannot start a thread that reads pods' counters"),
        }
        drop(leaving);
        let mut work = work.lock();
        work.reading.left_out.hung += std::mem::take(&mut work.waiting);
        std::mem::take(&mut work.reading)
    }
}

impl std::fmt::Debug for PodCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodCounters").finish_non_exhaustive()
    }
}

/// What a thread and the scrape that waits for it share.
struct Work {
    reading: Reading,
    /// Interfaces that were not reached yet.
    waiting: usize,
    /// The namespace in which the thread is.
    visited: Option<PathBuf>,
    /// The scrape goes on without the thread.
    is_abandoned: bool,
}

#[derive(Clone)]
struct Task {
    read: Arc<Read>,
    hung: Arc<Mutex<BTreeSet<PathBuf>>>,
    work: Arc<Mutex<Work>>,
}

impl Task {
    fn run(&self, pods: &[Pod]) {
        for pod in pods {
            {
                let mut work = self.work.lock();
                if work.is_abandoned {
                    return;
                }
                work.visited = Some(pod.netns.clone());
            }
            let table = (self.read)(pod);
            let mut work = self.work.lock();
            work.visited = None;
            if work.is_abandoned {
                self.hung.lock().remove(&pod.netns);
                return;
            }
            work.waiting -= pod.interfaces.len();
            match table {
                Ok(table) => work.reading.add(pod, &table),
                Err(error) => {
                    tracing::debug!(
                        netns = %pod.netns.display(), %error,
                        "cannot read the counters of a pod's interfaces"
                    );
                    work.reading.left_out.unreadable += pod.interfaces.len();
                }
            }
        }
    }
}

/// Abandons the thread on drop: if it is in a namespace, that namespace hangs.
struct Leaving(Task);

impl Drop for Leaving {
    fn drop(&mut self) {
        // The thread may be finishing this namespace now, so the lock is held.
        let mut work = self.0.work.lock();
        work.is_abandoned = true;
        if let Some(netns) = work.visited.clone() {
            tracing::warn!(
                netns = %netns.display(),
                "reading the counters of a pod's interfaces hangs; the metrics do not have them until it ends"
            );
            self.0.hung.lock().insert(netns);
        }
    }
}

impl Reading {
    /// Takes the counters of a pod's interfaces from its table.
    fn add(&mut self, pod: &Pod, table: &str) {
        let of = |name: &str| pod.interfaces.iter().find(|one| one.interface == name);
        let found = table::traffic(table, |name| of(name).is_some());
        let before = self.interfaces.len();
        self.interfaces
            .extend(found.filter_map(|(name, traffic)| Some((Arc::clone(of(name)?), traffic))));
        let found = self.interfaces.len() - before;
        self.left_out.unreadable += pod.interfaces.len().saturating_sub(found);
    }
}

/// The sandboxes with secondary interfaces that stand, in the order of their attachments.
fn pods(attachments: &[Summary], left_out: &mut LeftOut) -> Vec<Pod> {
    let mut pods: Vec<Pod> = Vec::new();
    let mut count = 0;
    for one in attachments {
        let stands = one.has_result && !one.is_default;
        let Some(netns) = one
            .netns
            .as_deref()
            .filter(|path| stands && !path.is_empty())
        else {
            continue;
        };
        if count >= MAX_INTERFACES {
            left_out.limit += 1;
            continue;
        }
        let Some(namespace) = one.namespace.clone().filter(|found| found.is_identified()) else {
            left_out.unidentified += 1;
            continue;
        };
        count += 1;
        let interface = Arc::clone(&one.labels);
        let netns = Path::new(netns);
        match pods
            .iter_mut()
            .rev()
            .find(|pod| pod.netns == netns && pod.namespace == namespace)
        {
            Some(pod) => pod.interfaces.push(interface),
            None => pods.push(Pod {
                netns: netns.to_owned(),
                namespace,
                interfaces: vec![interface],
            }),
        }
    }
    pods
}

#[cfg(test)]
mod tests;
