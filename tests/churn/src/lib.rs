//! Pods come and go through the installed shim while the installation is replaced: `cnidaria
//! install`, the daemon stopped or killed, another one started. Kernel, host-local and ledger show
//! what is left, and every call is checked when it ends.
//!
//! ```text
//! run ─▶ Installation (versions, swaps) ┐
//!     ─▶ worker: ADD, look, DEL         ├─▶ Report
//!     ─▶ watch: is the shim there?      ┘
//! ```

mod error;
mod installation;
mod pods;
mod report;
mod settled;
mod watch;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use node::{Node, networks};
use serde_json::{Value, json};

pub use error::Error;
pub use installation::Version;
pub use report::Report;

use installation::{Installation, Swap};
use pods::{Progress, Site};

/// Pods that stay attached from the first to the last swap.
const STAYING: usize = 4;
/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(5);

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many pods are attached and detached.
    pub pods: usize,
    /// How often the installation is replaced meanwhile.
    pub swaps: usize,
    /// How many pods come and go at the same time.
    pub at_once: usize,
    /// The versions that follow each other, again and again.
    pub versions: Vec<Version>,
}

/// Runs on a private node. Nothing but a correct run returns a report.
///
/// # Errors
/// [`Error::Wrong`] with what was lost or wrong, or why the run itself failed.
pub fn run(node: &mut Node, plan: &Plan) -> Result<Report, Error> {
    let begun = Instant::now();
    networks::prepare(node)?;
    // A machine that is busy with other work takes longer than the default of thirty seconds for a
    // swap; the kubelet gives a sandbox four minutes.
    if let Value::Object(conf) = &mut node.conf {
        let shim = json!({ "shim": { "addConnectTimeoutMs": 120_000 } });
        conf.insert("cnidaria".to_owned(), shim);
    }
    let installation = Installation::prepare(node, &plan.versions)?;
    installation.begin(node)?;
    let site = Site::of(node, installation.shim());
    let before = settled::State::of(node)?;
    let progress = Progress::default();
    let staying = site.attach(STAYING, &progress)?;
    let with_staying = settled::State::of(node)?;

    let swapped = thread::scope(|scope| {
        let watching = scope.spawn(|| watch::watch(&installation.shims(), &progress));
        let workers: Vec<_> = (0..plan.at_once)
            .map(|_| scope.spawn(|| site.churn(plan.pods, &progress)))
            .collect();
        let swapped = swap(node, &installation, plan, &progress, || {
            site.check(&staying)
        });
        if swapped.is_err() {
            progress.failed.store(true, Ordering::Relaxed);
        }
        for worker in workers {
            let ended = worker.join();
            ended.map_err(|_| Error::Panic)??;
        }
        progress.ended.store(true, Ordering::Relaxed);
        let looks = watching.join().map_err(|_| Error::Panic)??;
        Ok::<_, Error>((swapped?, looks))
    })?;
    let (absences, looks) = swapped;
    site.check(&staying)?;
    settled::wait_for(node, &with_staying)?;
    site.detach(&staying)?;
    settled::wait_for(node, &before)?;
    node.stop_daemon()?;
    Ok(Report::of(&progress, &absences, looks, begun.elapsed()))
}

/// Replaces the installation, evenly spread over the pods. Returns how long no daemon served.
fn swap(
    node: &mut Node,
    installation: &Installation,
    plan: &Plan,
    progress: &Progress,
    check: impl Fn() -> Result<(), Error>,
) -> Result<Vec<Duration>, Error> {
    let mut absences = Vec::new();
    for number in 1..=plan.swaps {
        let due = number * plan.pods / (plan.swaps + 1);
        while progress.attached.load(Ordering::Relaxed) < due {
            if progress.failed.load(Ordering::Relaxed) {
                return Ok(absences);
            }
            thread::sleep(POLL);
        }
        let swap = Swap::of(number);
        absences.push(installation.swap(node, number, swap, progress)?);
        check()?;
    }
    Ok(absences)
}
