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

use super::Severity;
use super::node::Node;

/// A check.
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
