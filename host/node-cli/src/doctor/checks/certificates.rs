//! Certificates between the daemon and the API server: whether they are valid, and for how long.

use std::time::{Duration, SystemTime};

use cnidaria_kube::expiry::{Use, Validity};

use super::Check;
use crate::doctor::Severity::{Error, Warning};
use crate::doctor::node::{Cluster, Node};

/// A tenth of the lifetime is short, but for long ones no more than this: a client certificate can be
/// replaced within a week.
const CLIENT_SOON: Duration = Duration::from_secs(7 * DAY);
/// The same for authorities, whose rotation takes longer.
const AUTHORITY_SOON: Duration = Duration::from_secs(30 * DAY);
/// Clocks may differ by this much.
const TOLERANCE: Duration = Duration::from_secs(60);
const DAY: u64 = 24 * 60 * 60;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "A751",
        severity: Error,
        title: "the daemon's client certificate has expired",
        why: "The API server does not accept it: ADD fails for pods that the daemon does not know yet, and network-status and Events are not written.",
        mend: "Renew the certificate in the kubeconfig. A node's own certificate is renewed by the daemon: approve its request (kubectl get csr), or correct the bootstrap kubeconfig.",
        pre: true,
        run: client_expired,
    },
    Check {
        code: "A752",
        severity: Warning,
        title: "the daemon's client certificate expires soon",
        why: "A node's own certificate should have been renewed after 70 to 90 % of its lifetime; nothing renews one in a kubeconfig.",
        mend: "Renew it before that day; the daemon's log says why it has not renewed the node's own.",
        pre: true,
        run: client_expires,
    },
    Check {
        code: "A753",
        severity: Error,
        title: "the authority of the API server's certificate has expired",
        why: "The daemon no longer trusts the API server, whatever certificate that serves.",
        mend: "Replace certificate-authority in the kubeconfig by the cluster's present one. In a pod, the kubelet replaces ca.crt once the cluster's root certificate is renewed.",
        pre: true,
        run: authority_expired,
    },
    Check {
        code: "A754",
        severity: Warning,
        title: "the authority of the API server's certificate expires soon",
        why: "Once it has expired, the daemon does not trust the API server any more.",
        mend: "Rotate the cluster's root certificate, and give the new one to all kubeconfigs before the API server uses it.",
        pre: true,
        run: authority_expires,
    },
    Check {
        code: "A755",
        severity: Warning,
        title: "a certificate is not valid yet",
        why: "This node's clock is behind, or the certificate is from a host whose clock is ahead. It is rejected until then.",
        mend: "Synchronise the clocks (timedatectl).",
        pre: true,
        run: not_yet_valid,
    },
];

fn certificates(node: &Node) -> &[Validity] {
    match &node.cluster {
        Cluster::Server(server) => &server.certificates,
        Cluster::None { .. } => &[],
    }
}

/// Those for a use that have ended, or will end within a tenth of their lifetime or `soon`.
fn ending(node: &Node, usage: Use, soon: Option<Duration>) -> Vec<String> {
    let found = certificates(node).iter().filter(|one| one.usage == usage);
    let shown = found.filter_map(|one| {
        let source = one.source.display();
        match (one.ends.duration_since(node.now), soon) {
            (Err(error), None) => {
                let since = days(error.duration());
                Some(format!("{source}: it expired {since} ago"))
            }
            (Ok(left), Some(most)) if left < (lifetime(one) / 10).min(most) => {
                Some(format!("{source}: it expires in {}", days(left)))
            }
            _ => None,
        }
    });
    shown.collect()
}

fn lifetime(one: &Validity) -> Duration {
    one.ends.duration_since(one.begins).unwrap_or_default()
}

fn days(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / DAY {
        0..2 => format!("{} minutes", seconds / 60),
        days => format!("{days} days"),
    }
}

fn client_expired(node: &Node) -> Vec<String> {
    ending(node, Use::Client, None)
}

fn client_expires(node: &Node) -> Vec<String> {
    ending(node, Use::Client, Some(CLIENT_SOON))
}

fn authority_expired(node: &Node) -> Vec<String> {
    ending(node, Use::Authorities, None)
}

fn authority_expires(node: &Node) -> Vec<String> {
    ending(node, Use::Authorities, Some(AUTHORITY_SOON))
}

fn not_yet_valid(node: &Node) -> Vec<String> {
    let is_early = |begins: SystemTime| {
        begins
            .duration_since(node.now)
            .ok()
            .filter(|wait| *wait > TOLERANCE)
    };
    let early = certificates(node).iter().filter_map(|one| {
        let wait = is_early(one.begins)?;
        Some(format!(
            "{}: it is valid in {}",
            one.source.display(),
            days(wait)
        ))
    });
    early.collect()
}
