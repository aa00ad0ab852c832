//! What an installation has put onto the node, and what updates have left.

use super::Check;
use crate::doctor::Severity::{Notice, Warning};
use crate::doctor::node::{Daemon, Node};
use crate::install::SHIM_NAMES;
use crate::installation::Installation;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "F951",
        severity: Warning,
        title: "installed files were replaced",
        why: "`cnidaria uninstall` leaves a file in place that another program has written since.",
        mend: "Run `cnidaria install` again, unless the other program is meant to own the file.",
        pre: false,
        run: replaced,
    },
    Check {
        code: "F952",
        severity: Notice,
        title: "the installation left no record",
        why: "The shim was copied by hand or by an earlier version, so `cnidaria uninstall` cannot put back what was there before.",
        mend: "Run `cnidaria install`, which keeps a record.",
        pre: false,
        run: no_record,
    },
    Check {
        code: "F953",
        severity: Notice,
        title: "unfinished files are left in the runtime's directory of plugins",
        why: "An installation was interrupted. The files only take space.",
        mend: "`cnidaria uninstall` removes them; or remove them by hand.",
        pre: false,
        run: unfinished,
    },
    Check {
        code: "F954",
        severity: Warning,
        title: "the log file cannot be written",
        why: "The daemon runs without it.",
        mend: "Create the directory of logFile, or mount it into the container.",
        pre: true,
        run: log_file,
    },
];

fn replaced(node: &Node) -> Vec<String> {
    let installation = Installation::in_dir(&node.bin_dir);
    let replaced = installation.replaced().unwrap_or_default();
    replaced
        .into_iter()
        .map(|path| path.display().to_string())
        .collect()
}

fn no_record(node: &Node) -> Vec<String> {
    let installation = Installation::in_dir(&node.bin_dir);
    let has_shim = SHIM_NAMES.iter().any(|name| {
        let content = std::fs::read(node.bin_dir.join(name));
        content.is_ok_and(|content| crate::install::is_our_shim(&content))
    });
    let serves = matches!(node.daemon, Daemon::Serving { .. });
    match has_shim && serves && !installation.has_record() {
        true => vec![node.bin_dir.display().to_string()],
        false => Vec::new(),
    }
}

fn unfinished(node: &Node) -> Vec<String> {
    let unfinished = Installation::in_dir(&node.bin_dir).unfinished();
    unfinished
        .into_iter()
        .map(|path| path.display().to_string())
        .collect()
}

fn log_file(node: &Node) -> Vec<String> {
    let raw = node
        .settings
        .overrides
        .get_as::<String>("logFile")
        .ok()
        .flatten();
    let Some(path) = raw.filter(|path| !path.is_empty()) else {
        return Vec::new();
    };
    match std::path::Path::new(&path).parent() {
        Some(dir) if !dir.is_dir() => vec![format!("{} is not a directory", dir.display())],
        _ => Vec::new(),
    }
}
