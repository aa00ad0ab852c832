//! The directory in which the runtime reads confs.

use std::path::{Path, PathBuf};

use super::Check;
use crate::doctor::Severity::{Error, Warning};
use crate::doctor::node::{Daemon, Node};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "R201",
        severity: Error,
        title: "the runtime's directory of confs is missing",
        why: "The daemon cannot write its conf there, and does not start if the primary network's conf is expected there.",
        mend: "Set cniConfigDir and multusAutoconfigDir to the directory that your runtime reads (`crictl info` shows it), or mount it into the container.",
        pre: true,
        run: missing_dir,
    },
    Check {
        code: "R202",
        severity: Error,
        title: "the node has no primary network",
        why: "The daemon generates its conf from the primary network's and waits for one. Until then no pod gets a network.",
        mend: "Install a primary network, such as Flannel, Calico or Cilium. Cilium needs cni.exclusive=false, or it renames the confs of others.",
        pre: true,
        run: no_primary,
    },
    Check {
        code: "R203",
        severity: Error,
        title: "the runtime's conf is missing",
        why: "A daemon serves, but the runtime does not call it: new pods get the primary network alone.",
        mend: "Look for `the runtime's conf` in the daemon's log. Restart the daemon if another program removed the file.",
        pre: false,
        run: missing_conf,
    },
    Check {
        code: "R204",
        severity: Error,
        title: "another conf comes before the daemon's",
        why: "The runtime uses the first conf by name, so it does not call the shim.",
        mend: "Rename or remove the file that comes first. Some networks can be told not to write it.",
        pre: false,
        run: not_first,
    },
    Check {
        code: "R205",
        severity: Error,
        title: "a conf of the runtime cannot be used",
        why: "A runtime reports that its network is not ready, or skips the file and uses another one.",
        mend: "Repair the file, or remove it if no program maintains it.",
        pre: true,
        run: unreadable,
    },
    Check {
        code: "R206",
        severity: Warning,
        title: "several confs execute the shim",
        why: "One of them is a leftover, of Multus or of an earlier installation. If it comes first, the runtime uses its settings.",
        mend: "Remove all but the one that the daemon writes.",
        pre: true,
        run: several_shims,
    },
    Check {
        code: "R207",
        severity: Error,
        title: "the runtime's conf names another socket",
        why: "The shim does not find the daemon: each ADD waits 30 seconds and fails.",
        mend: "Set daemonSocketDir to socketDir's path on the node, and restart the daemon.",
        pre: false,
        run: other_socket,
    },
    Check {
        code: "R208",
        severity: Error,
        title: "the runtime's conf names a cluster network that does not exist",
        why: "Every ADD fails, since the default network cannot be found.",
        mend: "Correct clusterNetwork, or restart the daemon, which writes the conf again from the primary network's.",
        pre: false,
        run: no_cluster_network,
    },
    Check {
        code: "R209",
        severity: Error,
        title: "the runtime's conf is there, but no daemon serves",
        why: "No pod starts: the shim waits 30 seconds for the daemon, and the ADD fails.",
        mend: "Start the daemon. If Cnidaria was removed from this node, run `cnidaria uninstall`.",
        pre: false,
        run: no_daemon,
    },
    Check {
        code: "R210",
        severity: Warning,
        title: "the runtime's conf is older than the primary network's",
        why: "A running daemon follows changes at once, so it fails to write, or does not run: capabilities and name may be out of date.",
        mend: "Look for `the runtime's conf` in the daemon's log.",
        pre: false,
        run: outdated,
    },
];

fn dir(node: &Node) -> Option<PathBuf> {
    Some(node.runtime_conf()?.parent()?.to_owned())
}

fn executes_shim(node: &Node, path: &Path) -> bool {
    let shims = node.settings.conf_file.shims();
    libcni::load::file(path).is_ok_and(|conf| shims.refuse_in(&conf).is_err())
}

fn missing_dir(node: &Node) -> Vec<String> {
    let primary = node
        .generated()
        .map(|generated| generated.primary_dir.clone());
    let mut dirs: Vec<PathBuf> = dir(node).into_iter().chain(primary).collect();
    dirs.dedup();
    dirs.retain(|dir| !dir.is_dir());
    let shown = |dir: PathBuf| format!("{} is not a directory", dir.display());
    dirs.into_iter().map(shown).collect()
}

fn no_primary(node: &Node) -> Vec<String> {
    let Some(generated) = node.generated() else {
        return Vec::new();
    };
    if !generated.primary_dir.is_dir() || node.primary().is_some() {
        return Vec::new();
    }
    let dir = generated.primary_dir.display();
    vec![match &generated.primary {
        Some(name) => format!("{dir} has no {name}, which multusMasterCNI names"),
        None => format!("{dir} has no .conf or .conflist of another network"),
    }]
}

fn missing_conf(node: &Node) -> Vec<String> {
    let serves = matches!(node.daemon, Daemon::Serving { .. });
    match node.runtime_conf() {
        Some(path) if serves && !path.exists() && node.primary().is_some() => {
            vec![format!("{} does not exist", path.display())]
        }
        _ => Vec::new(),
    }
}

fn not_first(node: &Node) -> Vec<String> {
    let Some(own) = node.runtime_conf().filter(|path| path.exists()) else {
        return Vec::new();
    };
    let confs = node.runtime_confs();
    let before = confs.iter().take_while(|path| **path != own);
    let shown = |path: &PathBuf| format!("{} comes before {}", path.display(), own.display());
    before.map(shown).collect()
}

fn unreadable(node: &Node) -> Vec<String> {
    let confs = node.runtime_confs().into_iter();
    confs
        .filter_map(|path| {
            let error = libcni::load::file(&path).err()?;
            Some(cnidaria_core::report::chain(&error))
        })
        .collect()
}

fn several_shims(node: &Node) -> Vec<String> {
    let mut confs = node.runtime_confs();
    confs.retain(|path| executes_shim(node, path));
    if confs.len() < 2 {
        return Vec::new();
    }
    let own = node.runtime_conf();
    let others = confs.into_iter().filter(|path| Some(path) != own.as_ref());
    let shown = |path: PathBuf| format!("{} executes the shim", path.display());
    others.map(shown).collect()
}

/// A member of the runtime's conf that is a string.
fn member(node: &Node, key: &str) -> Option<String> {
    let text = std::fs::read(node.runtime_conf()?).ok()?;
    let conf = cni_types::json::RawObject::parse(text).ok()?;
    conf.get_as::<String>(key).ok().flatten()
}

fn other_socket(node: &Node) -> Vec<String> {
    if !node
        .runtime_conf()
        .is_some_and(|path| executes_shim(node, &path))
    {
        return Vec::new();
    }
    let named = member(node, "daemonSocketDir").filter(|dir| !dir.is_empty());
    let named = named.unwrap_or_else(|| shim_api::endpoint::DEFAULT_SOCKET_DIR.to_owned());
    let socket = |dir: &Path| {
        let path = shim_api::endpoint::socket_path(dir);
        path.symlink_metadata().ok().map(|found| {
            use std::os::unix::fs::MetadataExt as _;
            (found.dev(), found.ino())
        })
    };
    let own = socket(&node.settings.socket_dir);
    // Seen from a container, the node's path may lead elsewhere.
    match socket(&node.on_node(Path::new(&named))).or_else(|| socket(Path::new(&named))) {
        found if own.is_some() && found != own => vec![format!(
            "the shim connects to {named}, the daemon listens in {}",
            node.settings.socket_dir.display()
        )],
        _ => Vec::new(),
    }
}

fn no_cluster_network(node: &Node) -> Vec<String> {
    match member(node, "clusterNetwork") {
        Some(path) if path.starts_with('/') && !Path::new(&path).exists() => {
            vec![format!("clusterNetwork: {path} does not exist")]
        }
        _ => Vec::new(),
    }
}

fn no_daemon(node: &Node) -> Vec<String> {
    let Daemon::Away(error) = &node.daemon else {
        return Vec::new();
    };
    let mut confs = node.runtime_confs();
    confs.retain(|path| executes_shim(node, path));
    let shown = |path: &PathBuf| format!("{} is in place, but {error}", path.display());
    confs.first().map(shown).into_iter().collect()
}

fn outdated(node: &Node) -> Vec<String> {
    let modified = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    let (Some(primary), Some(own)) = (node.primary(), node.runtime_conf()) else {
        return Vec::new();
    };
    let Some(wanted) = wanted(node, &primary) else {
        return Vec::new();
    };
    match (
        modified(&primary),
        modified(&own),
        std::fs::read_to_string(&own),
    ) {
        (Some(newer), Some(older), Ok(text)) if newer > older && text != wanted => {
            vec![format!("{} has changed since", primary.display())]
        }
        _ => Vec::new(),
    }
}

/// What the daemon would write.
fn wanted(node: &Node, primary: &Path) -> Option<String> {
    let conf = libcni::load::file(primary).ok()?;
    let capabilities = conf
        .plugins()
        .iter()
        .flat_map(|plugin| plugin.capabilities());
    let capabilities = capabilities.filter(|(_, is_on)| **is_on);
    let primary = config::conf_file::Primary {
        path: primary.to_owned(),
        name: conf.name().to_string(),
        capabilities: capabilities.map(|(name, _)| name.clone()).collect(),
    };
    node.generated()?.text(&primary).ok()
}
