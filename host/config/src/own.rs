//! The project's own settings: the key `cnidaria` of the daemon's file. Missing keys have their
//! defaults after parsing; an unknown key is an error.

use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use cnidaria_core::conf::timeouts::Timeouts;

use super::policies::PolicyConfig;
use super::trace::TraceConfig;
use cnidaria_core::domain::limits::Limits;

/// The settings under the key `cnidaria`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OwnConfig {
    /// Directory of Pod and NAD manifests, instead of a cluster.
    pub manifests: Option<PathBuf>,
    /// Directory for network-status without a cluster; default `<manifests>.status`.
    pub status_dir: Option<PathBuf>,
    /// Name of this node; default `MULTUS_NODE_NAME` or the host name.
    pub node_name: Option<String>,
    /// The DaemonSet that runs this daemon, `name` or `namespace/name`: if it was deleted, the daemon
    /// takes the runtime's conf away when it ends.
    pub daemon_set: Option<DaemonSetName>,
    /// The policies; none if absent.
    pub policies: Option<PolicyConfig>,
    /// Collects what containers without a sandbox have left; off if absent.
    pub collect: Option<CollectConfig>,
    /// Sources of the devices allocated to pods.
    pub kubelet: KubeletConfig,
    /// Directory of the device-info specification, as delegates see it.
    pub device_info_dir: PathBuf,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Limits of confs and annotations that tenants write.
    pub limits: Limits,
    /// Threads that serve requests.
    pub threads: NonZeroUsize,
    /// How many delegates of one network run at once.
    pub delegates_at_once: usize,
    /// Cgroup for delegates, as a path on the node; the daemon's own if absent.
    pub delegate_cgroup: Option<PathBuf>,
    /// How many attachments of one pod run at once, after its default network.
    pub attachments_at_once: NonZeroUsize,
    /// When the ledger's writes survive a power failure.
    pub durability: Durability,
    /// Maximum number of sandboxes in the ledger.
    pub ledger_limit: usize,
    /// Whether shims may record DELs while the daemon is down.
    pub defer_dels: bool,
    /// Further delegates whose DEL may run after the namespace is gone.
    pub defer_dels_of: BTreeSet<String>,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Traces of requests.
    pub trace: TraceConfig,
    /// Whether the metrics say which pod has which network.
    pub pod_network_metrics: bool,
    /// Whether the metrics have the traffic of pods' secondary interfaces.
    pub pod_interface_metrics: bool,
}

impl Default for OwnConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            manifests: None,
            status_dir: None,
            node_name: None,
            daemon_set: None,
            policies: None,
            collect: None,
            kubelet: KubeletConfig::default(),
            device_info_dir: PathBuf::from("/var/run/k8s.cni.cncf.io/devinfo"),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            threads: NonZeroUsize::MIN,
            delegates_at_once: (4 * processors).max(16),
            delegate_cgroup: None,
            attachments_at_once: NonZeroUsize::MIN,
            durability: Durability::default(),
            // More than any node runs: sandboxes beyond that were never deleted.
            ledger_limit: 100_000,
            defer_dels: true,
            defer_dels_of: BTreeSet::new(),
            log_format: LogFormat::default(),
            trace: TraceConfig::default(),
            pod_network_metrics: false,
            pod_interface_metrics: false,
        }
    }
}

/// A DaemonSet by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DaemonSetName {
    /// Namespace; that of the daemon's service account if absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl TryFrom<String> for DaemonSetName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text.as_str()),
        };
        // They become parts of a URL.
        let is_valid = |name: &str| {
            let allowed =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            !name.is_empty() && name.len() <= 253 && name.chars().all(allowed)
        };
        if !is_valid(name) || !namespace.is_none_or(is_valid) {
            return Err(format!("{text:?} is not the name of a DaemonSet"));
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

impl From<DaemonSetName> for String {
    fn from(name: DaemonSetName) -> Self {
        match name.namespace {
            Some(namespace) => format!("{namespace}/{}", name.name),
            None => name.name,
        }
    }
}

/// Collection of what containers without a sandbox have left.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectConfig {
    /// Socket of the Container Runtime Interface, as a path on the node.
    pub runtime_socket: PathBuf,
    /// Time between two observations, in milliseconds.
    #[serde(default = "interval_ms")]
    pub interval_ms: NonZeroU64,
    /// How long a container must have no sandbox, in milliseconds.
    #[serde(default = "grace_ms")]
    pub grace_ms: u64,
}

fn interval_ms() -> NonZeroU64 {
    const DEFAULT: NonZeroU64 = NonZeroU64::new(120_000).expect("it is not zero");
    DEFAULT
}

/// The kubelet gives a runtime four minutes to start a sandbox, which it lists only then.
fn grace_ms() -> u64 {
    600_000
}

/// Files of the kubelet, as paths on the node.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KubeletConfig {
    /// Socket of the pod-resources API.
    pub pod_resources_socket: PathBuf,
    /// Checkpoint of device plugins, the fallback if the socket does not answer.
    pub device_checkpoint: PathBuf,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        let kubelet = Path::new("/var/lib/kubelet");
        Self {
            pod_resources_socket: kubelet.join("pod-resources/kubelet.sock"),
            device_checkpoint: kubelet.join("device-plugins/kubelet_internal_checkpoint"),
        }
    }
}

/// When the ledger's writes survive a power failure. They always survive the death of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Within a second. No request waits for the disk, and a torn file is detected.
    #[default]
    Grouped,
    /// Before a delegate runs.
    Strict,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
