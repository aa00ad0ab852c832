//! The shim in the runtime's directory of plugins.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::StatVfsMountFlags;

use super::Check;
use crate::doctor::Severity::{Error, Warning};
use crate::doctor::node::Node;
use crate::install::is_our_shim;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "S301",
        severity: Error,
        title: "the runtime's directory of plugins is missing",
        why: "The runtime executes the shim and the primary network's plugins there.",
        mend: "Name the directory with --bin-dir, or mount it at this path. `crictl info` shows which one your runtime uses.",
        pre: true,
        run: no_dir,
    },
    Check {
        code: "S302",
        severity: Error,
        title: "the shim is missing",
        why: "The runtime cannot execute the conf's plugin: no pod starts.",
        mend: "Run `cnidaria install`, or delete the daemon's pod, whose init container does so.",
        pre: false,
        run: missing,
    },
    Check {
        code: "S303",
        severity: Error,
        title: "the shim cannot be executed",
        why: "The runtime fails with `permission denied`: no pod starts.",
        mend: "Run `cnidaria install`, which sets the mode 0755.",
        pre: false,
        run: not_executable,
    },
    Check {
        code: "S304",
        severity: Warning,
        title: "the shim is another program's",
        why: "Multus' shim works with this daemon, but does not record DELs while no daemon runs, and its next update comes with Multus'.",
        mend: "Remove Multus' DaemonSet, then run `cnidaria install`.",
        pre: false,
        run: foreign,
    },
    Check {
        code: "S305",
        severity: Warning,
        title: "the shim is of another version",
        why: "An update was interrupted, or one of the two was copied by hand.",
        mend: "Run `cnidaria install` of the daemon's version.",
        pre: false,
        run: other_version,
    },
    Check {
        code: "S306",
        severity: Error,
        title: "programs cannot be executed in the runtime's directory of plugins",
        why: "The file system is mounted noexec, so the runtime can execute neither the shim nor any plugin.",
        mend: "Mount it without noexec, or configure another directory in the runtime.",
        pre: true,
        run: noexec,
    },
    Check {
        code: "S307",
        severity: Error,
        title: "others than root can replace the shim",
        why: "The runtime executes the shim as root: who can write to the file or its directory is root on the node.",
        mend: "Make root the owner of the file and its directory, and remove the write permission of group and others.",
        pre: true,
        run: exposed,
    },
];

/// The name of the shim in the runtime's conf, or the usual one.
fn path(node: &Node) -> PathBuf {
    let conf = node
        .runtime_conf()
        .and_then(|path| std::fs::read(path).ok());
    let kind = conf
        .and_then(|text| cni_types::json::RawObject::parse(text).ok())
        .and_then(|conf| conf.get_as::<String>("type").ok().flatten())
        .filter(|kind| !kind.is_empty() && !kind.contains('/'));
    node.bin_dir.join(kind.as_deref().unwrap_or("multus-shim"))
}

fn content(node: &Node) -> Option<Vec<u8>> {
    files::read(&path(node), files::Links::Follow, 64 << 20).ok()
}

fn no_dir(node: &Node) -> Vec<String> {
    match node.bin_dir.is_dir() {
        true => Vec::new(),
        false => vec![format!("{} is not a directory", node.bin_dir.display())],
    }
}

fn missing(node: &Node) -> Vec<String> {
    let path = path(node);
    match node.bin_dir.is_dir() && !path.exists() {
        true => vec![format!("{} does not exist", path.display())],
        false => Vec::new(),
    }
}

fn not_executable(node: &Node) -> Vec<String> {
    let path = path(node);
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() || metadata.mode() & 0o111 == 0 => {
            let mode = metadata.mode() & 0o7777;
            vec![format!("{} has mode {mode:04o}", path.display())]
        }
        _ => Vec::new(),
    }
}

fn foreign(node: &Node) -> Vec<String> {
    match content(node) {
        Some(content) if !is_our_shim(&content) => {
            vec![format!("{} is not Cnidaria's", path(node).display())]
        }
        _ => Vec::new(),
    }
}

fn other_version(node: &Node) -> Vec<String> {
    match (content(node), &node.shim) {
        (Some(found), Some(own)) if is_our_shim(&found) && found != *own => {
            vec![format!(
                "{} differs from this version's",
                path(node).display()
            )]
        }
        _ => Vec::new(),
    }
}

fn noexec(node: &Node) -> Vec<String> {
    match rustix::fs::statvfs(&node.bin_dir) {
        Ok(system) if system.f_flag.contains(StatVfsMountFlags::NOEXEC) => {
            vec![format!("{} is mounted noexec", node.bin_dir.display())]
        }
        _ => Vec::new(),
    }
}

fn exposed(node: &Node) -> Vec<String> {
    let paths = [node.bin_dir.clone(), path(node)].into_iter();
    paths
        .filter(|path| !super::is_sticky(path))
        .filter_map(|path| super::exposed(&path))
        .collect()
}
