//! The daemon and its socket.

use super::Check;
use crate::doctor::Severity::{Error, Warning};
use crate::doctor::node::{Daemon, Node};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "D501",
        severity: Error,
        title: "no daemon serves on this node",
        why: "ADDs wait 30 seconds and fail, so no pod starts whose network is Cnidaria's.",
        mend: "Look at the DaemonSet's pod on this node and its log: kubectl --namespace kube-system logs daemonset/cnidaria. If the log says that the socket was removed and cannot be bound again, restart that pod. If the daemon has another socketDir, name it with --socket-dir.",
        pre: false,
        run: away,
    },
    Check {
        code: "D502",
        severity: Error,
        title: "another program serves the daemon's socket",
        why: "The shim speaks to it: most likely Multus' daemon still runs on this node.",
        mend: "Remove the other DaemonSet: kubectl --namespace kube-system delete daemonset kube-multus-ds.",
        pre: true,
        run: foreign,
    },
    Check {
        code: "D503",
        severity: Warning,
        title: "the daemon is ending",
        why: "It finishes its last requests and accepts no others. This takes 20 seconds at most.",
        mend: "Wait for the next daemon. If none starts, look at the DaemonSet's Events.",
        pre: false,
        run: ending,
    },
    Check {
        code: "D504",
        severity: Error,
        title: "others can reach the socket's directory",
        why: "The daemon does not start in a directory of another user, or one that others can write to.",
        mend: "Make root the owner, with mode 0700. The daemon creates the directory so if it is missing.",
        pre: true,
        run: exposed,
    },
];

fn away(node: &Node) -> Vec<String> {
    match &node.daemon {
        Daemon::Away(error) => vec![error.clone()],
        _ => Vec::new(),
    }
}

fn foreign(node: &Node) -> Vec<String> {
    match &node.daemon {
        Daemon::Foreign(error) => vec![error.clone()],
        _ => Vec::new(),
    }
}

fn ending(node: &Node) -> Vec<String> {
    match &node.daemon {
        Daemon::Ending => vec![node.settings.socket_dir.display().to_string()],
        _ => Vec::new(),
    }
}

fn exposed(node: &Node) -> Vec<String> {
    super::exposed(&node.settings.socket_dir)
        .into_iter()
        .collect()
}
