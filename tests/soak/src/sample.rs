//! A daemon's resources at one moment, from the kernel.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use node::{Error, Node, inspect};

/// An idle daemon's resources.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) after: Duration,
    pub(crate) calls: u64,
    pub(crate) memory_kib: u64,
    /// What the daemon's allocator has given out.
    pub(crate) live_bytes: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
    pub(crate) children: u64,
    /// Files of the ledger, of host-local, of network-status, of the policies' cache and in the
    /// socket's directory.
    pub(crate) files: u64,
    pub(crate) interfaces: u64,
}

impl Sample {
    pub(crate) const HEAD: &str = "seconds    calls  KiB anonymous  live bytes  threads  descriptors  children  files  interfaces";

    /// Samples a node's daemon after this many calls.
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
        let directories = ["ledger", "ipam", "status", "policy-cache"];
        let files = directories.iter().map(|name| {
            let files = inspect::files(&node.path(name))?;
            Ok(files.len() as u64)
        });
        Ok(Self {
            after,
            calls,
            memory_kib: field("RssAnon:"),
            live_bytes: live_bytes(node)?,
            threads,
            descriptors: count(&process.join("fd"))?,
            children: children(&process)?,
            files: files.sum::<Result<u64, Error>>()? + count(&node.path("multus"))?,
            interfaces: inspect::links(None)?.len() as u64,
        })
    }
}

/// What the log of a debug build says at the beginning of the last idle period. A release build
/// does not count.
fn live_bytes(node: &Node) -> Result<u64, Error> {
    let log = node.log();
    let digits = log.rsplit_once("\"live_bytes\":").and_then(|(_, last)| {
        let digits = last.split(|c: char| !c.is_ascii_digit()).next();
        digits?.parse().ok()
    });
    let missing = || io::Error::other("the daemon logs no live_bytes: not a debug build");
    digits.ok_or_else(|| Error::file(node.path("daemon.log"))(missing()))
}

fn count(directory: &Path) -> Result<u64, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file(directory))?;
    Ok(entries.count() as u64)
}

fn children(process: &Path) -> Result<u64, Error> {
    let tasks = process.join("task");
    let mut children = 0;
    for task in fs::read_dir(&tasks).map_err(Error::file(&tasks))?.flatten() {
        // The thread may have ended.
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children += text.split_ascii_whitespace().count() as u64;
    }
    Ok(children)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:7} {:8} {:14} {:11} {:8} {:12} {:9} {:6} {:11}",
            self.after.as_secs(),
            self.calls,
            self.memory_kib,
            self.live_bytes,
            self.threads,
            self.descriptors,
            self.children,
            self.files,
            self.interfaces
        )
    }
}
