//! The state of a node that the checks judge: gathered once, or built by a test.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cni_types::conf::NetworkConfList;
use cnidaria_core::domain::nad::Nad;
use cnidaria_kube::Published;
use cnidaria_kube::client::{self, DaemonSet, Right};
use cnidaria_kube::expiry::Validity;
use config::conf_file::Generated;
use config::daemon::DaemonConfig;
use shim_api::admin::{AttachmentList, ListedAttachment, PolicyList};

#[derive(Debug)]
pub(crate) struct Node {
    /// Where /proc, /sys and /lib/modules are.
    pub(crate) root: PathBuf,
    /// Path of the daemon's configuration.
    pub(crate) config_path: PathBuf,
    /// The configuration; why it cannot be used; or `None` without a file.
    pub(crate) config: Option<Result<DaemonConfig, String>>,
    /// The defaults, or the configuration.
    pub(crate) settings: DaemonConfig,
    /// The directory in which the runtime executes plugins.
    pub(crate) bin_dir: PathBuf,
    /// `CNI_PATH`: further directories of delegates, on the node.
    pub(crate) plugin_path: Vec<PathBuf>,
    /// The shim of this version, if it is beside this command.
    pub(crate) shim: Option<Vec<u8>>,
    pub(crate) daemon: Daemon,
    pub(crate) cluster: Cluster,
    pub(crate) links: Vec<Link>,
    /// Which addresses of a set an interface has, in any network namespace.
    pub(crate) in_use: fn(&BTreeSet<IpAddr>) -> BTreeSet<IpAddr>,
    pub(crate) kernel: String,
    pub(crate) now: SystemTime,
}

/// What the daemon answers.
#[derive(Debug)]
pub(crate) enum Daemon {
    /// Nothing serves the socket.
    Away(String),
    /// Something else serves it, or it cannot be used.
    Foreign(String),
    /// It finishes its last requests.
    Ending,
    /// It serves.
    Serving {
        policies: PolicyList,
        attachments: AttachmentList,
    },
}

/// What the API server answers.
#[derive(Debug)]
pub(crate) enum Cluster {
    /// The daemon reads manifests, or nothing says how the server is reached.
    None { manifests: bool },
    /// How the server was asked, and its answers.
    Server(Box<Server>),
}

#[derive(Debug)]
pub(crate) struct Server {
    /// Files that the access needs: credentials, a kubeconfig.
    pub(crate) files: Vec<PathBuf>,
    /// The service account's token, if any.
    pub(crate) token: Option<String>,
    /// The certificates that the access uses.
    pub(crate) certificates: Vec<Validity>,
    /// The definitions of networks.
    pub(crate) nads: Result<Vec<Nad>, client::Error>,
    /// For each right that the daemon needs, whether it has it.
    pub(crate) rights: Vec<(Right, Result<bool, client::Error>)>,
    /// What the configured DaemonSet is.
    pub(crate) daemon_set: Option<DaemonSet>,
    /// What the cluster shows of the node's policies, if it is to.
    pub(crate) policy_status: Option<Result<Option<Published>, client::Error>>,
}

/// A network interface of the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// The bridge or bond that it belongs to.
    pub(crate) master: Option<String>,
    pub(crate) is_bridge: bool,
    pub(crate) is_up: bool,
}

/// A network whose plugins the node executes.
#[derive(Debug)]
pub(crate) struct Network {
    /// `namespace/name` of the definition, or the conf's path.
    pub(crate) name: String,
    pub(crate) conf: NetworkConfList,
}

/// A plugin that the node needs.
#[derive(Debug)]
pub(crate) struct NeededPlugin {
    pub(crate) name: String,
    /// Whether it is another plugin's IPAM plugin.
    pub(crate) is_ipam: bool,
    /// The network that needs it.
    pub(crate) network: String,
}

impl Node {
    /// How the daemon provides the runtime's conf, if it generates it.
    pub(crate) fn generated(&self) -> Option<&Generated> {
        match &self.settings.conf_file {
            config::conf_file::ConfFile::Generated(generated) => Some(generated),
            _ => None,
        }
    }

    /// Path of the runtime's conf, if the daemon provides it.
    pub(crate) fn runtime_conf(&self) -> Option<PathBuf> {
        self.settings.conf_file.target()
    }

    /// The confs that the runtime reads, by name.
    pub(crate) fn runtime_confs(&self) -> Vec<PathBuf> {
        let Some(dir) = self
            .runtime_conf()
            .and_then(|path| Some(path.parent()?.to_owned()))
        else {
            return Vec::new();
        };
        libcni::load::conf_files(&dir, &["conf", "conflist", "json"]).unwrap_or_default()
    }

    /// The primary network's conf file.
    pub(crate) fn primary(&self) -> Option<PathBuf> {
        let generated = self.generated()?;
        if let Some(name) = &generated.primary {
            let path = generated.primary_dir.join(name);
            return path.exists().then_some(path);
        }
        let files = libcni::load::conf_files(&generated.primary_dir, &["conf", "conflist"]);
        let shims = generated.shims();
        let is_network = |path: &PathBuf| {
            !cnidaria_core::domain::shim::is_own_conf(path)
                && libcni::load::file(path).is_ok_and(|conf| shims.refuse_in(&conf).is_ok())
        };
        files.unwrap_or_default().into_iter().find(is_network)
    }

    /// The definitions of networks; none if they are unknown.
    pub(crate) fn nads(&self) -> &[Nad] {
        match &self.cluster {
            Cluster::Server(server) => server.nads.as_deref().unwrap_or_default(),
            Cluster::None { .. } => &[],
        }
    }

    /// The primary network and those of the cluster, as far as their confs are well-formed.
    pub(crate) fn networks(&self) -> Vec<Network> {
        let primary = self.primary().and_then(|path| {
            let conf = libcni::load::file(&path).ok()?;
            Some(Network {
                name: path.display().to_string(),
                conf,
            })
        });
        let of_nad = |nad: &Nad| {
            let text = nad
                .config
                .as_deref()
                .filter(|text| !text.trim().is_empty())?;
            Some(Network {
                name: format!("{}/{}", nad.namespace, nad.name),
                conf: nad_conf(nad, text).ok()?,
            })
        };
        let nads = self.nads().iter().filter_map(of_nad);
        primary.into_iter().chain(nads).collect()
    }

    /// All plugins and IPAM plugins, each with the first network that needs it.
    pub(crate) fn plugins(&self) -> Vec<NeededPlugin> {
        let mut seen = BTreeSet::new();
        let mut plugins = Vec::new();
        for network in self.networks() {
            for plugin in network.conf.plugins() {
                let main = (plugin.plugin_type().to_string(), false);
                let ipam = plugin.ipam_type().map(|ipam| (ipam.to_string(), true));
                for (name, is_ipam) in [main].into_iter().chain(ipam) {
                    if seen.insert(name.clone()) {
                        plugins.push(NeededPlugin {
                            name,
                            is_ipam,
                            network: network.name.clone(),
                        });
                    }
                }
            }
        }
        plugins
    }

    /// The directories in which the daemon searches for delegates, as it sees them.
    pub(crate) fn delegate_dirs(&self) -> Vec<PathBuf> {
        let configured = self.settings.overrides.get_as::<String>("binDir");
        let configured = configured.ok().flatten().filter(|dir| !dir.is_empty());
        let configured = configured.map(PathBuf::from);
        let mut dirs = vec![self.bin_dir.clone()];
        let others = configured.iter().chain(&self.plugin_path);
        dirs.extend(others.map(|dir| self.on_node(dir)));
        dirs
    }

    /// What the daemon's ledger has; nothing without a daemon.
    pub(crate) fn attachments(&self) -> &[ListedAttachment] {
        match &self.daemon {
            Daemon::Serving { attachments, .. } => &attachments.attachments,
            _ => &[],
        }
    }

    /// The text of a file below the root, such as one of /proc.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.at(path)).ok()
    }

    /// A path below the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A path of the node, as this command sees it.
    pub(crate) fn on_node(&self, path: &Path) -> PathBuf {
        match &self.settings.chroot_dir {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

/// The conf of a definition, which takes the definition's name if it has none.
pub(crate) fn nad_conf(nad: &Nad, text: &str) -> Result<NetworkConfList, String> {
    let mut raw = cni_types::json::RawObject::parse(text).map_err(|error| report(&error))?;
    if raw.get("name").is_none() {
        raw.set("name", nad.name.as_str())
            .map_err(|error| report(&error))?;
    }
    NetworkConfList::parse_any(raw.to_string()).map_err(|error| report(&error))
}

fn report(error: &dyn std::error::Error) -> String {
    cnidaria_core::report::chain(error)
}
