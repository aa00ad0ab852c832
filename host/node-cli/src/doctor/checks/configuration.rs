//! The daemon's configuration file.

use super::Check;
use crate::doctor::Severity::{Error, Notice, Warning};
use crate::doctor::node::Node;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "C101",
        severity: Notice,
        title: "the daemon's configuration file is missing",
        why: "The other checks assume the defaults. The daemon itself does not start without the file.",
        mend: "Name the file with --config, or run the command in the daemon's container, which has it: kubectl exec.",
        pre: false,
        run: missing,
    },
    Check {
        code: "C102",
        severity: Error,
        title: "the daemon's configuration is not valid",
        why: "The daemon does not start with this file. One that runs still has the values it was started with.",
        mend: "Correct the key that is named; deploy/CONFIGURATION.md describes all keys. Check the file with `cnidaria-daemon --check-config`.",
        pre: true,
        run: invalid,
    },
    Check {
        code: "C103",
        severity: Warning,
        title: "the daemon's configuration has keys that are unknown or have no effect",
        why: "The setting does not do what its author expects.",
        mend: "Correct the spelling, or remove the key.",
        pre: true,
        run: warnings,
    },
    Check {
        code: "C104",
        severity: Warning,
        title: "the daemon provides no conf for the runtime",
        why: "Without `multusConfigFile` or `multusAutoconfigDir` the daemon writes no conf, so the runtime calls it only if another program provides one.",
        mend: "Set multusConfigFile to \"auto\", or keep the conf that you provide.",
        pre: true,
        run: no_conf,
    },
    Check {
        code: "C105",
        severity: Error,
        title: "chrootDir is not the node's root directory",
        why: "The daemon searches for delegates below this directory and runs them there. It does not start if it cannot.",
        mend: "Mount the node's root directory there, as the DaemonSet's volume `hostroot` does.",
        pre: false,
        run: chroot,
    },
    Check {
        code: "C106",
        severity: Error,
        title: "the readiness indicator file is missing",
        why: "While the file that `readinessindicatorfile` names is missing, ADDs wait and fail, and STATUS reports that the node is not ready.",
        mend: "Find out why the primary network does not write it, or remove the key.",
        pre: false,
        run: indicator,
    },
];

fn missing(node: &Node) -> Vec<String> {
    match &node.config {
        None => vec![format!("{} does not exist", node.config_path.display())],
        Some(_) => Vec::new(),
    }
}

fn invalid(node: &Node) -> Vec<String> {
    match &node.config {
        Some(Err(error)) => vec![format!("{}: {error}", node.config_path.display())],
        _ => Vec::new(),
    }
}

fn warnings(node: &Node) -> Vec<String> {
    match &node.config {
        Some(Ok(config)) => config.warnings.clone(),
        _ => Vec::new(),
    }
}

fn no_conf(node: &Node) -> Vec<String> {
    let is_configured = matches!(node.config, Some(Ok(_)));
    match node.runtime_conf() {
        None if is_configured => vec![format!(
            "{} has neither of the keys",
            node.config_path.display()
        )],
        _ => Vec::new(),
    }
}

fn chroot(node: &Node) -> Vec<String> {
    let Some(root) = &node.settings.chroot_dir else {
        return Vec::new();
    };
    match root.join("proc").is_dir() && root.join("etc").is_dir() {
        true => Vec::new(),
        false => vec![format!("chrootDir {} has no /proc or /etc", root.display())],
    }
}

fn indicator(node: &Node) -> Vec<String> {
    let raw = node
        .settings
        .overrides
        .get_as::<String>("readinessindicatorfile");
    let path = raw.ok().flatten().filter(|path| !path.is_empty());
    match path {
        Some(path) if !std::path::Path::new(&path).exists() => {
            vec![format!("readinessindicatorfile: {path} does not exist")]
        }
        _ => Vec::new(),
    }
}
