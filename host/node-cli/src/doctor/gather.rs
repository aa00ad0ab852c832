//! Reads a node for the checks: files, the daemon over its socket, and the API server, each bounded
//! in time.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cnidaria_kube::client::Right;
use cnidaria_kube::{Access, Client, expiry};
use config::daemon::{self as configuration, DaemonConfig};
use files::Links;
use shim_api::admin::{AttachmentList, PolicyList};
use shim_api::endpoint;

use super::addresses;
use super::node::{Cluster, Daemon, Link, Node, Server};
use crate::args::DoctorArgs;
use crate::{daemon, socket};

/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The namespace of the DaemonSet unless configured.
const NAMESPACE: &str = "kube-system";

/// Every right that the daemon needs: those of `deploy/kustomize/base/rbac.yaml` for all namespaces.
pub(super) const RIGHTS: [Right; 11] = [
    right("list", "", "pods", ""),
    right("watch", "", "pods", ""),
    right("get", "", "pods", ""),
    right("patch", "", "pods", "status"),
    right("create", "", "events", ""),
    right("patch", "", "events", ""),
    right(
        "list",
        "k8s.cni.cncf.io",
        "network-attachment-definitions",
        "",
    ),
    right(
        "watch",
        "k8s.cni.cncf.io",
        "network-attachment-definitions",
        "",
    ),
    right(
        "get",
        "k8s.cni.cncf.io",
        "network-attachment-definitions",
        "",
    ),
    right("get", "resource.k8s.io", "resourceclaims", ""),
    right("list", "resource.k8s.io", "resourceslices", ""),
];

const fn right(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
) -> Right {
    Right {
        verb,
        group,
        resource,
        subresource,
    }
}

/// Reads this node.
///
/// # Errors
/// The runtime for the API server's answers cannot be started.
pub(super) fn gather(args: &DoctorArgs, socket_dir: Option<&Path>) -> Result<Node, Box<dyn Error>> {
    let config = read(&args.config);
    let mut settings = match &config {
        Some(Ok(config)) => config.clone(),
        _ => defaults()?,
    };
    settings.socket_dir = match (socket_dir, &config) {
        (Some(given), _) => given.to_owned(),
        (None, Some(Ok(config))) => config.socket_dir.clone(),
        (None, _) => socket::find(None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cluster = runtime.block_on(cluster(&settings));
    let shim = std::env::current_exe()?.with_file_name("cnidaria-shim");
    Ok(Node {
        root: PathBuf::from("/"),
        config_path: args.config.clone(),
        bin_dir: args.bin_dir.clone(),
        plugin_path: std::env::var_os("CNI_PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .collect(),
        shim: files::read(&shim, Links::Follow, 64 << 20).ok(),
        daemon: ask(&settings.socket_dir),
        cluster,
        links: links(Path::new("/sys/class/net")),
        in_use: addresses::in_use,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        now: now(),
        config,
        settings,
    })
}

#[expect(clippy::disallowed_methods, reason = "compared with times in tokens")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// What applies without a configuration.
pub(super) fn defaults() -> Result<DaemonConfig, configuration::Error> {
    DaemonConfig::parse(br#"{"multusConfigFile":"auto","cniVersion":"1.0.0"}"#)
}

fn read(path: &Path) -> Option<Result<DaemonConfig, String>> {
    match DaemonConfig::load(path) {
        Ok(config) => Some(Ok(config)),
        Err(configuration::Error::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            None
        }
        Err(error) => Some(Err(cnidaria_core::report::chain(&error))),
    }
}

fn ask(socket_dir: &Path) -> Daemon {
    let ask = || -> Result<Daemon, daemon::Error> {
        daemon::probe(socket_dir, endpoint::READYZ)?;
        let policies: PolicyList = daemon::get(socket_dir, endpoint::POLICIES)?;
        let attachments: AttachmentList = daemon::get(socket_dir, endpoint::ATTACHMENTS)?;
        Ok(Daemon::Serving {
            policies,
            attachments,
        })
    };
    match ask() {
        Ok(serving) => serving,
        Err(daemon::Error::NotReady { .. }) => Daemon::Ending,
        Err(error @ daemon::Error::Away { .. }) => Daemon::Away(error.to_string()),
        Err(error) => Daemon::Foreign(cnidaria_core::report::chain(&error)),
    }
}

async fn cluster(settings: &DaemonConfig) -> Cluster {
    if settings.own.manifests.is_some() {
        return Cluster::None { manifests: true };
    }
    let node = node_name(settings);
    let variable = |name: &str| std::env::var(name).ok();
    let Some(access) = settings.api_server.access(&node, variable) else {
        return Cluster::None { manifests: false };
    };
    let (files, token) = credentials(&access);
    let certificates = expiry::certificates(&access);
    let client = Client::new(access);
    let nads = client.nads(PATIENCE).await;
    let mut rights = Vec::new();
    // If the server does not answer at all, it is not asked eleven times more.
    if !matches!(nads, Err(cnidaria_kube::client::Error::Unavailable(_))) {
        for right in RIGHTS {
            rights.push((right, client.may(&right, PATIENCE).await));
        }
    }
    let daemon_set = match &settings.own.daemon_set {
        Some(wanted) if !rights.is_empty() => {
            let namespace = wanted.namespace.as_deref().unwrap_or(NAMESPACE);
            Some(client.daemon_set(namespace, &wanted.name, PATIENCE).await)
        }
        _ => None,
    };
    let is_shown = settings.own.policies.as_ref();
    let is_shown = is_shown.is_some_and(|policies| policies.node_status) && !rights.is_empty();
    let policy_status = match is_shown {
        true => Some(client.policy_status(&node, PATIENCE).await),
        false => None,
    };
    Cluster::Server(Box::new(Server {
        files,
        token,
        certificates,
        nads,
        rights,
        daemon_set,
        policy_status,
    }))
}

/// The node's name, as the daemon finds it.
pub(crate) fn node_name(settings: &DaemonConfig) -> String {
    let of_pod = || std::env::var("MULTUS_NODE_NAME").ok();
    let configured = settings.own.node_name.clone();
    let name = configured.or_else(|| of_pod().filter(|name| !name.is_empty()));
    name.unwrap_or_else(|| {
        let host = rustix::system::uname();
        host.nodename().to_string_lossy().into_owned()
    })
}

/// The files that an access needs, and its token.
fn credentials(access: &Access) -> (Vec<PathBuf>, Option<String>) {
    match access {
        Access::InCluster {
            service_account, ..
        } => {
            let token = service_account.join("token");
            let text = std::fs::read_to_string(&token).ok();
            (vec![token, service_account.join("ca.crt")], text)
        }
        Access::Kubeconfig(path) => (vec![path.clone()], None),
        Access::NodeCertificate(own) => (vec![own.bootstrap_kubeconfig.clone()], None),
    }
}

/// The node's interfaces.
pub(super) fn links(dir: &Path) -> Vec<Link> {
    let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    let link = |path: PathBuf| {
        let flags = read(path.join("flags")).unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
        let master = std::fs::read_link(path.join("master")).ok();
        let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        Link {
            name: name(&path).unwrap_or_default(),
            mtu: read(path.join("mtu"))
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or_default(),
            master: master.as_deref().and_then(name),
            is_bridge: path.join("bridge").is_dir(),
            is_up: flags & 1 != 0,
        }
    };
    found.map(|file| link(file.path())).collect()
}
