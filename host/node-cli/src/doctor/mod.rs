//! `cnidaria doctor`: what is wrong with this node, and how to mend it. Checks are functions of a
//! [`Node`](node::Node), which is read once; the table of [`checks`] has their explanations, from
//! which `docs/operations/doctor.md` is generated.

mod addresses;
mod checks;
mod gather;
mod node;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use gather::node_name;

use std::error::Error;
use std::path::Path;

use crate::Output;
use crate::args::DoctorArgs;

/// Exit code if anything is wrong that keeps pods from their networks.
const BROKEN: u8 = 5;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// Pods may not start, or lack a network.
    Error,
    /// Something will go wrong, or has left traces.
    Warning,
    /// Probably not what the operator wants.
    Notice,
}

/// Checks the node.
///
/// # Errors
/// A JSON error, or the runtime for the API server's answers cannot be started.
pub fn doctor(
    args: &DoctorArgs,
    socket_dir: Option<&Path>,
    as_json: bool,
) -> Result<Output, Box<dyn Error>> {
    let node = gather::gather(args, socket_dir)?;
    let findings = checks::run(&node, args.pre);
    let is_broken = findings
        .iter()
        .any(|finding| finding.check.severity == Severity::Error);
    let text = match as_json {
        true => report::json(&findings)?,
        false => report::text(&findings, checks::count(args.pre)),
    };
    Ok(Output {
        text,
        code: if is_broken { BROKEN } else { 0 },
    })
}
