//! The figures of a run.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::pods::Progress;

/// A run in which nothing was lost or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Successful ADDs.
    pub adds: usize,
    /// ADDs that a killed daemon did not finish; each was deleted and made again.
    pub repeated: usize,
    /// Successful DELs.
    pub dels: usize,
    /// How often the installation was replaced.
    pub swaps: usize,
    /// In how many of them the daemon was killed.
    pub kills: usize,
    /// The longest time without a daemon.
    pub longest_absence: Duration,
    /// The longest ADD.
    pub longest_add: Duration,
    /// How often both names of the shim were found.
    pub looks: u64,
    /// How long the run took.
    pub took: Duration,
}

impl Report {
    pub(crate) fn of(
        progress: &Progress,
        absences: &[Duration],
        looks: u64,
        took: Duration,
    ) -> Self {
        let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
        Self {
            adds: count(&progress.attached),
            repeated: count(&progress.repeated),
            dels: count(&progress.detached),
            swaps: absences.len(),
            kills: count(&progress.kills) / 2,
            longest_absence: absences.iter().copied().max().unwrap_or_default(),
            longest_add: progress.longest_add(),
            looks: looks / 2,
            took,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            adds,
            repeated,
            dels,
            swaps,
            kills,
            longest_absence,
            longest_add,
            looks,
            took,
        } = self;
        writeln!(
            f,
            "{adds} ADDs and {dels} DELs through {swaps} swaps, {kills} of them by SIGKILL, in {took:.0?}"
        )?;
        writeln!(
            f,
            "{repeated} ADDs were cut off by SIGKILL, deleted and made again"
        )?;
        writeln!(
            f,
            "longest time without a daemon {longest_absence:.1?}, longest ADD {longest_add:.1?}"
        )?;
        write!(
            f,
            "the shim was there {looks} times of {looks}; nothing was lost, nothing is left"
        )
    }
}
