//! What a daemon has at one moment, as the kernel says, and whether that grew.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use node::{Error, Node, inspect};

/// So much more memory than in the beginning is no growth yet: pages that the allocator keeps.
const MEMORY_KIB: u64 = 1024;

/// What a daemon has while nothing is asked of it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    after: Duration,
    calls: u64,
    memory_kib: u64,
    threads: u64,
    descriptors: u64,
    children: u64,
    /// Of the ledger, of host-local, of network-status and of the socket's directory.
    files: u64,
    interfaces: u64,
}

impl Sample {
    pub(crate) const HEAD: &str =
        "seconds    calls  KiB anonymous  threads  descriptors  children  files  interfaces";

    /// Looks at the daemon of a node that made so many calls.
    pub(crate) fn take(node: &Node, after: Duration, calls: u64) -> Result<Self, Error> {
        let process = Path::new("/proc").join(node.daemon_pid()?.to_string());
        let status = process.join("status");
        let text = fs::read_to_string(&status).map_err(Error::file(&status))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_ascii_whitespace().next());
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let threads = field("Threads:");
        let directories = ["ledger", "ipam", "status"];
        let files = directories.iter().map(|name| {
            let files = inspect::files(&node.path(name))?;
            Ok(files.len() as u64)
        });
        Ok(Self {
            after,
            calls,
            memory_kib: field("RssAnon:"),
            threads,
            descriptors: count(&process.join("fd"))?,
            children: children(&process)?,
            files: files.sum::<Result<u64, Error>>()? + count(&node.path("multus"))?,
            interfaces: inspect::links(None)?.len() as u64,
        })
    }
}

fn count(directory: &Path) -> Result<u64, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file(directory))?;
    Ok(entries.count() as u64)
}

fn children(process: &Path) -> Result<u64, Error> {
    let tasks = process.join("task");
    let mut children = 0;
    for task in fs::read_dir(&tasks).map_err(Error::file(&tasks))?.flatten() {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children += text.split_ascii_whitespace().count() as u64;
    }
    Ok(children)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:7} {:8} {:14} {:8} {:12} {:9} {:6} {:11}",
            self.after.as_secs(),
            self.calls,
            self.memory_kib,
            self.threads,
            self.descriptors,
            self.children,
            self.files,
            self.interfaces
        )
    }
}

/// What the second quarter of a run had, and what the last one has. The first quarter is for warming
/// up: threads start, the allocator gets its pages.
#[derive(Debug)]
pub(crate) struct Verdict {
    calls: u64,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    before: u64,
    after: u64,
    allowed: u64,
}

impl Verdict {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let quarter = samples.len() / 4;
        let second = samples.get(quarter..2 * quarter).unwrap_or_default();
        let last = samples.get(3 * quarter..).unwrap_or_default();
        let row = |name, allowed, of: fn(&Sample) -> u64| Row {
            name,
            before: median(second.iter().map(of)),
            after: median(last.iter().map(of)),
            allowed,
        };
        Self {
            calls: samples.last().map_or(0, |sample| sample.calls),
            rows: vec![
                row("KiB anonymous", MEMORY_KIB, |sample| sample.memory_kib),
                row("threads", 0, |sample| sample.threads),
                row("descriptors", 0, |sample| sample.descriptors),
                row("children", 0, |sample| sample.children),
                row("files", 0, |sample| sample.files),
                row("interfaces", 0, |sample| sample.interfaces),
            ],
        }
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.rows.iter().all(Row::is_flat)
    }
}

impl Row {
    fn is_flat(&self) -> bool {
        self.after <= self.before + self.allowed
    }
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "after {} calls, second quarter and last quarter:",
            self.calls
        )?;
        for row in &self.rows {
            let word = if row.is_flat() { "flat" } else { "GREW" };
            writeln!(
                f,
                "{:>15} {:8} {:8}  {word}",
                row.name, row.before, row.after
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(memory_kib: u64, files: u64) -> Sample {
        Sample {
            after: Duration::ZERO,
            calls: 1,
            memory_kib,
            threads: 1,
            descriptors: 1,
            children: 0,
            files,
            interfaces: 0,
        }
    }

    #[test]
    fn warming_up_is_no_growth() {
        let samples: Vec<_> = [1000, 9000, 9100, 9000].map(|kib| sample(kib, 3)).into();
        assert!(Verdict::of(&samples).is_flat());
    }

    #[test]
    fn what_grows_is_seen() {
        let memory: Vec<_> = (0..8).map(|n| sample(9000 + n * 1000, 3)).collect();
        assert!(!Verdict::of(&memory).is_flat());
        let files: Vec<_> = (0..8).map(|n| sample(9000, n)).collect();
        assert!(!Verdict::of(&files).is_flat());
    }
}
