//! The table of checks. A code never changes its meaning: `docs/operations/doctor.md` has a section
//! for each, generated from here.

mod certificates;
mod cluster;
mod configuration;
mod files;
mod kernel;
mod ledger;
mod plugins;
mod policies;
mod runtime_conf;
mod shim;
mod socket;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Severity;
use super::node::Node;

pub(crate) struct Check {
    /// Identifies it for good.
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    /// What is wrong if it finds something.
    pub(crate) title: &'static str,
    /// What follows from that.
    pub(crate) why: &'static str,
    /// What the operator can do.
    pub(crate) mend: &'static str,
    /// Whether it makes sense before the installation.
    pub(crate) pre: bool,
    /// What it found; nothing if all is well.
    pub(crate) run: fn(&Node) -> Vec<String>,
}

/// Something that a check found.
pub(crate) struct Finding {
    pub(crate) check: &'static Check,
    /// What exactly.
    pub(crate) found: String,
}

/// How much one check may print.
const MAX_FINDINGS: usize = 20;

/// The groups of checks, with their titles in the document.
pub(crate) const GROUPS: [(&str, &[Check]); 11] = [
    ("Configuration of the daemon", configuration::CHECKS),
    ("The runtime's directory of confs", runtime_conf::CHECKS),
    ("The shim", shim::CHECKS),
    ("Plugins and networks", plugins::CHECKS),
    ("The daemon and its socket", socket::CHECKS),
    ("The ledger", ledger::CHECKS),
    ("The API server", cluster::CHECKS),
    ("Certificates", certificates::CHECKS),
    ("Policies", policies::CHECKS),
    ("The kernel", kernel::CHECKS),
    ("Files and directories", files::CHECKS),
];

fn all(pre: bool) -> impl Iterator<Item = &'static Check> {
    let checks = GROUPS.iter().flat_map(|(_, checks)| *checks);
    checks.filter(move |check| !pre || check.pre)
}

/// Whose a file or directory is, or its mode, if others than root and this user can write to it.
fn exposed(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let shown = path.display();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Some(format!("{shown} belongs to user {owner}"));
    }
    (mode & 0o022 != 0).then(|| format!("{shown} has mode {mode:04o}"))
}

/// Whether only the owners of files can replace them in a directory, whatever its mode.
fn is_sticky(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|metadata| metadata.is_dir() && metadata.mode() & 0o1000 != 0)
}

/// How many checks there are.
pub(super) fn count(pre: bool) -> usize {
    all(pre).count()
}

/// Runs the checks, the worst findings first.
pub(super) fn run(node: &Node, pre: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in all(pre) {
        let mut found = (check.run)(node);
        let more = found.len().saturating_sub(MAX_FINDINGS);
        found.truncate(MAX_FINDINGS);
        if more > 0 {
            found.push(format!("and {more} more"));
        }
        findings.extend(found.into_iter().map(|found| Finding { check, found }));
    }
    findings.sort_by_key(|finding| finding.check.severity);
    findings
}
