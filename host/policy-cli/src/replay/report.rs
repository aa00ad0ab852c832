//! What a replay prints.

use std::fmt::Write as _;
use std::time::Duration;

use policy_engine::Hook;
use serde_json::json;

use super::Total;
use super::compare::Difference;
use crate::{FAILED, plain};

/// Differences that are shown; all are in JSON.
const MAX_LINES: usize = 100;

/// A finished replay.
pub(super) struct Replayed<'r> {
    pub(super) policy: &'r str,
    pub(super) total: &'r Total,
    pub(super) duration: Duration,
    /// Requests after too many calls that timed out.
    pub(super) left: usize,
    /// Bytes of the recording that are not whole requests.
    pub(super) skipped: usize,
    /// Hooks of the module that the recording does not have.
    pub(super) unseen: Vec<Hook>,
}

impl Replayed<'_> {
    /// The exit code: requests that are not replayed could be the ones that change.
    pub(super) fn code(&self) -> u8 {
        match self.total.count > 0 || self.left > 0 {
            true => FAILED,
            false => 0,
        }
    }
}

/// A line for each difference, and a summary.
pub(super) fn text(replayed: &Replayed<'_>) -> String {
    let total = replayed.total;
    let mut text = String::new();
    for (_, difference) in total.differences.iter().take(MAX_LINES) {
        text.push_str(&line(difference));
    }
    if total.count > MAX_LINES {
        let more = total.count - MAX_LINES;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "… and {more} more differences; `--output json` has them"
        );
    }
    for note in notes(replayed) {
        let _ = writeln!(text, "note: {}", plain(&note));
    }
    let seconds = replayed.duration.as_secs_f64();
    let requests = total.requests;
    let rate = requests as f64 / seconds.max(f64::MIN_POSITIVE);
    let _ = writeln!(
        text,
        "{requests} requests replayed in {seconds:.2} s ({rate:.0} a second): {} would change",
        total.changed
    );
    text
}

fn line(difference: &Difference) -> String {
    let Difference {
        pod,
        hook,
        interface,
        network,
        field,
        old,
        new,
        ..
    } = difference;
    let subject = match interface.as_ref().zip(network.as_ref()) {
        Some((interface, network)) => format!(" {interface} {network}"),
        None => String::new(),
    };
    let side = |value: &Option<String>| plain(value.as_deref().unwrap_or("nothing"));
    let pod = if pod.is_empty() { "node" } else { pod };
    format!(
        "{}  {hook}{}  {}: {} → {}\n",
        plain(pod),
        plain(&subject),
        plain(field),
        side(old),
        side(new)
    )
}

/// What the result does not say.
fn notes(replayed: &Replayed<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for (reason, count) in &replayed.total.incomparable {
        notes.push(format!("{count} calls are not compared: {reason}"));
    }
    for (what, count) in &replayed.total.missing {
        notes.push(format!(
            "{count} requests asked for what the recording does not have: {what}"
        ));
    }
    if !replayed.unseen.is_empty() {
        let hooks: Vec<&str> = replayed.unseen.iter().map(|hook| hook.as_str()).collect();
        notes.push(format!(
            "the recording has no calls of {}",
            hooks.join(", ")
        ));
    }
    if replayed.left > 0 {
        notes.push(format!(
            "{} requests are not replayed: the policy timed out too often",
            replayed.left
        ));
    }
    if replayed.skipped > 0 {
        notes.push(format!(
            "{} bytes are torn or damaged and were skipped",
            replayed.skipped
        ));
    }
    notes
}

/// Everything, for programs.
pub(super) fn json(replayed: &Replayed<'_>) -> String {
    let total = replayed.total;
    let differences = total.differences.iter().map(|(number, difference)| {
        let mut value = json!(difference);
        if let Some(members) = value.as_object_mut() {
            members.insert("request".to_owned(), json!(number + 1));
        }
        value
    });
    let differences: Vec<_> = differences.collect();
    let value = json!({
        "policy": replayed.policy,
        "requests": total.requests,
        "changed": total.changed,
        "differences": differences,
        "differenceCount": total.count,
        "notCompared": total.incomparable,
        "missing": total.missing,
        "hooksNotRecorded": replayed.unseen.iter().map(|hook| hook.as_str()).collect::<Vec<_>>(),
        "notReplayed": replayed.left,
        "skippedBytes": replayed.skipped,
        "seconds": replayed.duration.as_secs_f64(),
    });
    format!("{value:#}\n")
}
