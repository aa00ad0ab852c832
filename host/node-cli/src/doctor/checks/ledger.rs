//! The ledger, and whether it fits the node.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use cni_types::args::NetworkName;
use cnidaria_core::conf::net_conf::DEFAULT_CNI_DIR;
use cnidaria_core::domain::sandbox::RESULTS_DIR;
use libcni::Cache;
use libcni::host_local::{DEFAULT_DATA_DIR, Reservation, Store};
use shim_api::admin::{AttachmentState, ListedAttachment};

use super::Check;
use crate::doctor::Severity::{Error, Notice, Warning};
use crate::doctor::node::{Daemon, Network, Node};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "L601",
        severity: Error,
        title: "others than root can write to the ledger",
        why: "The daemon executes, as root, what the ledger records.",
        mend: "Make root the owner of the directory, with mode 0755 or stricter.",
        pre: true,
        run: exposed,
    },
    Check {
        code: "L602",
        severity: Warning,
        title: "the ledger has damaged records",
        why: "The attachments of these containers are unknown. Their DELs use what the results and the cluster still say.",
        mend: "Delete the pod. If the record stays, run `cnidaria attachments forget CONTAINER`, and remove what is left of it.",
        pre: false,
        run: damaged,
    },
    Check {
        code: "L603",
        severity: Warning,
        title: "attachments could not be undone",
        why: "The daemon retries. Until it succeeds, interfaces and addresses stay in use.",
        mend: "Fix the cause that is named. If the plugin is gone for good, run `cnidaria attachments forget`.",
        pre: false,
        run: pending,
    },
    Check {
        code: "L604",
        severity: Warning,
        title: "recorded DELs are waiting",
        why: "Shims record DELs while no daemon runs. One that stays beside a running daemon could not be carried out.",
        mend: "Start the daemon, or look for `a recorded DEL failed` in its log.",
        pre: false,
        run: deferred,
    },
    Check {
        code: "L605",
        severity: Warning,
        title: "the ledger has pods that are gone",
        why: "Their network namespaces do not exist any more and no DEL has come: the runtime has forgotten them, or called another plugin.",
        mend: "Name the runtime's socket in `cnidaria.collect.runtimeSocket`: the daemon then undoes such attachments after a while. A runtime with CNI 1.1 may send GC. Otherwise `cnidaria attachments forget CONTAINER` removes the record; remove addresses and interfaces by hand.",
        pre: false,
        run: gone,
    },
    Check {
        code: "L606",
        severity: Warning,
        title: "addresses are reserved for containers that do not exist",
        why: "host-local does not assign them again. When a range is used up, pods do not start.",
        mend: "Name the runtime's socket in `cnidaria.collect.runtimeSocket`: the daemon then releases such addresses after a while. Or remove the files that are named, after you have checked with `crictl pods` that the container is gone.",
        pre: false,
        run: leaked,
    },
    Check {
        code: "L607",
        severity: Notice,
        title: "interfaces on a bridge belong to no attachment",
        why: "They are left over from pods that are gone, or another program made them.",
        mend: "Remove them with `ip link delete`, after you have checked that no pod uses them.",
        pre: false,
        run: unowned,
    },
    Check {
        code: "L608",
        severity: Notice,
        title: "damaged records were set aside",
        why: "They say what plugins may have left on the node: the daemon could not read them.",
        mend: "Look at the files, remove what they name, then remove them.",
        pre: false,
        run: set_aside,
    },
    Check {
        code: "L609",
        severity: Warning,
        title: "the disk of the ledger is almost full",
        why: "Without space to record an attachment, ADD fails.",
        mend: "Free space or inodes on this file system.",
        pre: true,
        run: full,
    },
    Check {
        code: "L610",
        severity: Notice,
        title: "the ledger is in memory",
        why: "After a reboot the daemon does not know what pods had: addresses in /var/lib/cni/networks stay reserved.",
        mend: "Set cniDir to a directory on a disk, such as /var/lib/cni/multus.",
        pre: true,
        run: in_memory,
    },
    Check {
        code: "L611",
        severity: Warning,
        title: "the runtime's socket is not where the daemon looks",
        why: "The daemon cannot ask for the sandboxes, and collects nothing that lost containers have left.",
        mend: "Set collect.runtimeSocket to the socket of this node's runtime, as a path on the node.",
        pre: false,
        run: no_runtime,
    },
    Check {
        code: "L612",
        severity: Warning,
        title: "the usual directory of the ledger has records, and cniDir is another",
        why: "An earlier daemon, or Multus, attached pods and recorded them there. The daemon does not know it: it deletes these pods by what the cluster says about them today, and the records stay.",
        mend: "Set cniDir to that directory, or remove it once its pods are gone.",
        pre: true,
        run: elsewhere,
    },
];

/// How long before the checks the daemon may have answered.
const MEANWHILE: Duration = Duration::from_secs(60);

fn dir(node: &Node) -> &Path {
    &node.settings.cni_dir
}

fn exposed(node: &Node) -> Vec<String> {
    super::exposed(dir(node)).into_iter().collect()
}

fn damaged(node: &Node) -> Vec<String> {
    let Daemon::Serving { attachments, .. } = &node.daemon else {
        return Vec::new();
    };
    let damaged = attachments.unreadable.iter();
    damaged
        .map(|one| format!("container {}: {}", one.container_id, one.reason))
        .collect()
}

fn pending(node: &Node) -> Vec<String> {
    let attachments = node.attachments().iter();
    attachments
        .filter_map(|one| match &one.state {
            AttachmentState::UndoPending { reason, retries } => Some(format!(
                "{}/{} {} after {retries} attempts: {reason}",
                one.pod.namespace, one.pod.name, one.if_name
            )),
            _ => None,
        })
        .collect()
}

fn deferred(node: &Node) -> Vec<String> {
    let dir = dir(node).join(shim_api::deferred::DIR);
    let count = names(&dir).len();
    match count {
        0 => Vec::new(),
        count => vec![format!("{} has {count} records", dir.display())],
    }
}

/// Names in a directory that do not begin with a dot.
fn names(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn gone(node: &Node) -> Vec<String> {
    let mut containers: BTreeMap<&str, (String, bool)> = BTreeMap::new();
    for one in node.attachments() {
        if !matches!(one.state, AttachmentState::Attached) {
            continue;
        }
        let exists = one.netns.is_empty()
            || Path::new(&one.netns).exists()
            || node.on_node(Path::new(&one.netns)).exists();
        // A damaged record does not have it.
        let pod = match one.pod.name.as_str() {
            "" => "an unknown pod".to_owned(),
            name => format!("pod {}/{name}", one.pod.namespace),
        };
        let (_, all) = containers.entry(&one.container_id).or_insert((pod, false));
        *all |= exists;
    }
    let gone = containers.into_iter().filter(|(_, (_, exists))| !exists);
    gone.map(|(container, (pod, _))| format!("container {container} of {pod}"))
        .collect()
}

fn leaked(node: &Node) -> Vec<String> {
    if !matches!(node.daemon, Daemon::Serving { .. }) {
        return Vec::new();
    }
    // Only networks of which the ledger has attachments, or which the cluster defines: others
    // belong to other programs.
    let mut stores: BTreeSet<Store> = node
        .networks()
        .iter()
        .flat_map(|network| Store::of(&network.conf))
        .collect();
    let named = node.attachments().iter();
    stores.extend(named.filter_map(|one| {
        Some(Store {
            data_dir: DEFAULT_DATA_DIR.into(),
            network: NetworkName::new(one.network.as_str()).ok()?,
        })
    }));
    let known: BTreeSet<&str> = node
        .attachments()
        .iter()
        .map(|one| one.container_id.as_str())
        .collect();
    let mut unknown = Vec::new();
    for store in stores {
        let on_node = node.on_node(&store.data_dir);
        let data_dir = match on_node.join(store.network.as_str()).is_dir() {
            true => on_node,
            false => node.at(&store.data_dir.display().to_string()),
        };
        let store = Store { data_dir, ..store };
        let reserved = store.list().unwrap_or_default().into_iter();
        unknown.extend(reserved.filter(|one| {
            // A pod that has started meanwhile is not in the daemon's answer.
            let is_new = one.since.is_some_and(|since| since + MEANWHILE > node.now);
            !is_new && !known.contains(one.container.as_str())
        }));
    }
    // Pods that were attached before the daemon was installed are in no ledger.
    let in_use = (node.in_use)(&unknown.iter().map(|one| one.address).collect());
    unknown.retain(|one| !in_use.contains(&one.address));
    let shown = |one: Reservation| {
        let (path, container) = (one.path(), &one.container);
        format!("{} is reserved for {container}", path.display())
    };
    unknown.into_iter().map(shown).collect()
}

fn unowned(node: &Node) -> Vec<String> {
    let Daemon::Serving { .. } = &node.daemon else {
        return Vec::new();
    };
    let bridges = own_bridges(node);
    let Ok((entries, _)) = Cache::new(dir(node)).list() else {
        return Vec::new();
    };
    let mut owned = BTreeSet::new();
    for entry in &entries {
        let Ok(conf) = cni_types::conf::NetworkConfList::parse_any(&entry.config) else {
            // An unknown result may own any of them.
            return Vec::new();
        };
        let Ok(result) = entry.parsed_result(conf.cni_version()) else {
            return Vec::new();
        };
        let on_node =
            |one: &cni_types::result::Interface| one.sandbox.as_deref().is_none_or(str::is_empty);
        owned.extend(
            result
                .interfaces
                .into_iter()
                .filter(on_node)
                .map(|one| one.name),
        );
    }
    let is_unowned = |link: &&crate::doctor::node::Link| {
        let on_ours = link
            .master
            .as_ref()
            .is_some_and(|master| bridges.contains(master));
        on_ours && link.name.starts_with("veth") && !owned.contains(&link.name)
    };
    let links = node.links.iter().filter(is_unowned);
    links
        .map(|link| {
            format!(
                "{} on {}",
                link.name,
                link.master.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

/// The bridges on which the daemon alone attaches pods. Pods from before the installation have
/// interfaces on the primary network's.
fn own_bridges(node: &Node) -> BTreeSet<String> {
    let primary = node.primary().map(|path| path.display().to_string());
    let (shared, own): (Vec<_>, Vec<_>) = node
        .networks()
        .into_iter()
        .partition(|network| Some(&network.name) == primary.as_ref());
    let bridges = |networks: Vec<Network>| -> BTreeSet<String> {
        let plugins = networks.iter().flat_map(|network| network.conf.plugins());
        let bridges = plugins.filter(|plugin| plugin.plugin_type().as_str() == "bridge");
        let names = bridges.map(|plugin| plugin.raw().get_as::<String>("bridge"));
        names.filter_map(|name| name.ok().flatten()).collect()
    };
    &bridges(own) - &bridges(shared)
}

fn set_aside(node: &Node) -> Vec<String> {
    let dir = dir(node).join(".damaged");
    let names = names(&dir).into_iter();
    names
        .map(|name| dir.join(name).display().to_string())
        .collect()
}

fn full(node: &Node) -> Vec<String> {
    const MIN_BYTES: u64 = 16 << 20;
    const MIN_INODES: u64 = 1000;
    let Some(existing) = dir(node).ancestors().find(|dir| dir.is_dir()) else {
        return Vec::new();
    };
    let Ok(system) = rustix::fs::statvfs(existing) else {
        return Vec::new();
    };
    let bytes = system.f_bavail.saturating_mul(system.f_frsize);
    let mut found = Vec::new();
    if bytes < MIN_BYTES {
        found.push(format!("{} has {bytes} bytes left", existing.display()));
    }
    // Some file systems have no limit of inodes, and report zero.
    if system.f_files > 0 && system.f_favail < MIN_INODES {
        let inodes = system.f_favail;
        found.push(format!("{} has {inodes} inodes left", existing.display()));
    }
    found
}

fn in_memory(node: &Node) -> Vec<String> {
    const TMPFS: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    let Some(existing) = dir(node).ancestors().find(|dir| dir.is_dir()) else {
        return Vec::new();
    };
    match rustix::fs::statfs(existing) {
        Ok(system) if TMPFS.contains(&system.f_type) => {
            vec![format!("{} is on a tmpfs", dir(node).display())]
        }
        _ => Vec::new(),
    }
}

fn elsewhere(node: &Node) -> Vec<String> {
    let usual = node.at(DEFAULT_CNI_DIR);
    let (shown, own) = (usual.display().to_string(), dir(node));
    let is_known = |one: &ListedAttachment| one.cni_dir.as_ref() == Some(&shown);
    if usual == own || node.attachments().iter().any(is_known) {
        return Vec::new();
    }
    let plans = names(&usual).into_iter().filter(|name| name != RESULTS_DIR);
    match plans.count() {
        0 => Vec::new(),
        count => vec![format!(
            "{shown} has {count} records, cniDir is {}",
            own.display()
        )],
    }
}

fn no_runtime(node: &Node) -> Vec<String> {
    let Some(collect) = &node.settings.own.collect else {
        return Vec::new();
    };
    let socket = node.on_node(&collect.runtime_socket);
    match socket.metadata() {
        Ok(metadata) if metadata.file_type().is_socket() => Vec::new(),
        Ok(_) => vec![format!("{} is not a socket", socket.display())],
        Err(error) => vec![format!("{}: {error}", socket.display())],
    }
}
