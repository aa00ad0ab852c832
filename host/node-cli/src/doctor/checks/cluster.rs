//! The API server: whether it can be asked, and what the daemon may ask.

use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cnidaria_kube::DaemonSet;
use cnidaria_kube::client::Error as ApiError;
use serde::Deserialize;

use super::Check;
use crate::doctor::Severity::{Error, Notice, Warning};
use crate::doctor::node::{Cluster, Daemon, Node, Server};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "A701",
        severity: Error,
        title: "nothing says how the API server is reached",
        why: "The daemon does not start without a cluster.",
        mend: "Run it in a pod, set kubeconfig, or set cnidaria.manifests for a node without a cluster. This command needs the same environment: run it in the daemon's container.",
        pre: true,
        run: no_access,
    },
    Check {
        code: "A702",
        severity: Error,
        title: "a file with credentials is missing",
        why: "The daemon cannot authenticate, so it learns of neither pods nor networks.",
        mend: "Mount the service account's token, or correct the path in the configuration.",
        pre: true,
        run: no_file,
    },
    Check {
        code: "A703",
        severity: Error,
        title: "the API server cannot be reached",
        why: "ADD fails for pods that the daemon does not know yet. Running pods and DELs are not affected.",
        mend: "Check the address and the node's routes to it. The daemon uses the node's own network.",
        pre: true,
        run: unreachable,
    },
    Check {
        code: "A704",
        severity: Error,
        title: "the API server does not accept the daemon's identity",
        why: "Every request fails, and STATUS reports that the node is not ready.",
        mend: "Renew the credentials: delete the pod for a new token, or approve the node's certificate request.",
        pre: true,
        run: unauthorized,
    },
    Check {
        code: "A705",
        severity: Error,
        title: "the daemon lacks a right",
        why: "What needs this request fails: a watch makes STATUS fail, a PATCH of pods/status makes ADD fail, Events are lost.",
        mend: "Apply deploy/kustomize/base/rbac.yaml, and for policies the component policy-lookups.",
        pre: true,
        run: no_right,
    },
    Check {
        code: "A706",
        severity: Error,
        title: "the cluster has no definition of networks",
        why: "Pods that name a network in their annotation do not start; others do.",
        mend: "Apply deploy/kustomize/base/crd.yaml.",
        pre: true,
        run: no_definition,
    },
    Check {
        code: "A707",
        severity: Warning,
        title: "the token has expired",
        why: "The kubelet replaces the file before that: it does not run, or this node's clock is ahead.",
        mend: "Check the kubelet and the clock (timedatectl).",
        pre: true,
        run: expired,
    },
    Check {
        code: "A708",
        severity: Warning,
        title: "this node's clock is behind",
        why: "The token is from the future. Certificates may be rejected as not valid yet.",
        mend: "Synchronise the clock (timedatectl).",
        pre: true,
        run: clock_behind,
    },
    Check {
        code: "A709",
        severity: Warning,
        title: "the daemon's DaemonSet cannot be read",
        why: "A daemon that is uninstalled leaves the runtime's conf on the node, and no pod starts there.",
        mend: "Correct cnidaria.daemonSet, or apply deploy/kustomize/base/rbac.yaml of this version.",
        pre: false,
        run: no_daemon_set,
    },
    Check {
        code: "A710",
        severity: Notice,
        title: "the daemon does not know its DaemonSet",
        why: "Without cnidaria.daemonSet it cannot tell an uninstallation from a restart, and always leaves the runtime's conf in place.",
        mend: "Set cnidaria.daemonSet to the DaemonSet's name, or run `cnidaria uninstall` on each node before you remove it.",
        pre: false,
        run: unnamed_daemon_set,
    },
    Check {
        code: "A711",
        severity: Notice,
        title: "the cluster does not show the state of this node's policies",
        why: "`kubectl get policynodestatuses` has nothing of this node, or something old. Pods and policies are not affected.",
        mend: "Apply deploy/kustomize/base/policy-status.yaml and restart the daemon, or set cnidaria.policies.nodeStatus to false.",
        pre: false,
        run: no_policy_status,
    },
];

fn server(node: &Node) -> Option<&Server> {
    match &node.cluster {
        Cluster::Server(server) => Some(server),
        Cluster::None { .. } => None,
    }
}

fn no_access(node: &Node) -> Vec<String> {
    match node.cluster {
        Cluster::None { manifests: false } => vec![
            "KUBERNETES_SERVICE_HOST is not set, and neither kubeconfig nor cnidaria.manifests is configured".to_owned(),
        ],
        _ => Vec::new(),
    }
}

fn no_file(node: &Node) -> Vec<String> {
    let files = server(node).into_iter().flat_map(|server| &server.files);
    files
        .filter(|path| std::fs::File::open(path).is_err())
        .map(|path| format!("{} cannot be read", path.display()))
        .collect()
}

fn unreachable(node: &Node) -> Vec<String> {
    match server(node).map(|server| &server.nads) {
        Some(Err(ApiError::Unavailable(reason))) if no_file(node).is_empty() => {
            vec![reason.clone()]
        }
        _ => Vec::new(),
    }
}

fn is_unauthorized(reason: &str) -> bool {
    reason.contains("401")
}

fn unauthorized(node: &Node) -> Vec<String> {
    match server(node).map(|server| &server.nads) {
        Some(Err(ApiError::Refused(reason))) if is_unauthorized(reason) => vec![reason.clone()],
        _ => Vec::new(),
    }
}

fn no_right(node: &Node) -> Vec<String> {
    let rights = server(node).into_iter().flat_map(|server| &server.rights);
    rights
        .filter(|(_, may)| matches!(may, Ok(false)))
        .map(|(right, _)| {
            let group = if right.group.is_empty() {
                "the core group"
            } else {
                right.group
            };
            let resource = match right.subresource {
                "" => right.resource.to_owned(),
                subresource => format!("{}/{subresource}", right.resource),
            };
            format!("{} {resource} of {group}", right.verb)
        })
        .collect()
}

fn no_definition(node: &Node) -> Vec<String> {
    match server(node).map(|server| &server.nads) {
        Some(Err(ApiError::NotFound(reason))) => vec![reason.clone()],
        _ => Vec::new(),
    }
}

/// When a token is valid, in seconds since 1970.
#[derive(Deserialize)]
struct Claims {
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
}

fn claims(node: &Node) -> Option<(Claims, u64)> {
    let token = server(node)?.token.as_ref()?;
    let payload = token.trim().split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let now = node.now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some((serde_json::from_slice(&payload).ok()?, now))
}

fn expired(node: &Node) -> Vec<String> {
    match claims(node) {
        Some((Claims { exp: Some(exp), .. }, now)) if exp < now => {
            vec![format!("it expired {} seconds ago", now - exp)]
        }
        _ => Vec::new(),
    }
}

fn clock_behind(node: &Node) -> Vec<String> {
    const TOLERANCE: u64 = 60;
    let Some((claims, now)) = claims(node) else {
        return Vec::new();
    };
    match claims.nbf.or(claims.iat) {
        Some(from) if from > now + TOLERANCE => {
            vec![format!("the token is valid in {} seconds", from - now)]
        }
        _ => Vec::new(),
    }
}

fn no_daemon_set(node: &Node) -> Vec<String> {
    match server(node).and_then(|server| server.daemon_set.as_ref()) {
        Some(DaemonSet::Deleted) => vec!["the cluster does not have this DaemonSet".to_owned()],
        Some(DaemonSet::Refused(reason)) => vec![reason.clone()],
        _ => Vec::new(),
    }
}

fn no_policy_status(node: &Node) -> Vec<String> {
    let Daemon::Serving { policies, .. } = &node.daemon else {
        return Vec::new();
    };
    let shown = server(node).and_then(|server| server.policy_status.as_ref());
    let shown = match shown {
        Some(Ok(Some(shown))) => shown,
        Some(Ok(None)) => {
            return vec!["the cluster has no PolicyNodeStatus of this node".to_owned()];
        }
        Some(Err(ApiError::NotFound(_))) => {
            return vec!["the cluster does not have the kind PolicyNodeStatus".to_owned()];
        }
        Some(Err(ApiError::Refused(reason))) if !is_unauthorized(reason) => {
            return vec![reason.clone()];
        }
        _ => return Vec::new(),
    };
    let old = policies.policies.iter().filter(|policy| {
        let shown = shown
            .policies
            .iter()
            .find(|(name, ..)| *name == policy.name);
        shown.is_some_and(|(_, _, digest)| *digest != policy.digest)
    });
    old.map(|policy| format!("{}: the cluster shows another module", policy.name))
        .collect()
}

fn unnamed_daemon_set(node: &Node) -> Vec<String> {
    let provides = node.runtime_conf().is_some() && matches!(node.config, Some(Ok(_)));
    match server(node) {
        Some(_) if provides && node.settings.own.daemon_set.is_none() => {
            vec![format!("{} does not name it", node.config_path.display())]
        }
        _ => Vec::new(),
    }
}
