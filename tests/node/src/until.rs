//! Waits for what sends no notification: files, links, processes and log lines of a node.

use std::thread;
use std::time::{Duration, Instant};

/// Time limit, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Poll interval.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `holds`.
///
/// # Panics
/// When it does not hold within two minutes.
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(comes_to_hold(holds), "not within {PATIENCE:?}: {what}");
}

/// Whether `holds` within the time limit.
pub(crate) fn comes_to_hold(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(POLL);
    }
}
