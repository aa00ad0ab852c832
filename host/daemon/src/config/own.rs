//! The project's own settings: the key `cnidaria` of the daemon's file. Missing keys have their
//! defaults after parsing; an unknown key is an error.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policies::PolicyConfig;
use crate::domain::limits::Limits;

/// The kubelet gives a runtime two minutes to stop a sandbox.
const STOP_LIMIT: Duration = Duration::from_secs(110);

/// How long a runtime can reasonably wait for a DEL that may finish in the background.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(10);

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
    /// The policies; none if absent.
    pub policies: Option<PolicyConfig>,
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
}

impl Default for OwnConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            manifests: None,
            status_dir: None,
            node_name: None,
            policies: None,
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
        }
    }
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

/// Timeouts, in milliseconds in the file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// One ADD, also by hot-plug. On timeout, its attachments are undone.
    #[serde(rename = "requestMs", with = "milliseconds")]
    pub request: Duration,
    /// One execution of a delegate.
    #[serde(rename = "delegateMs", with = "milliseconds")]
    pub delegate: Duration,
    /// How long an ADD waits for its pod to appear.
    #[serde(rename = "podMs", with = "milliseconds")]
    pub pod: Duration,
    /// How long to retry writing network-status.
    #[serde(rename = "statusMs", with = "milliseconds")]
    pub status: Duration,
    /// How long an ADD waits for the readiness indicator file.
    #[serde(rename = "readinessMs", with = "milliseconds")]
    pub readiness: Duration,
    /// How long the kubelet may take to list a pod's devices.
    #[serde(rename = "kubeletMs", with = "milliseconds")]
    pub kubelet: Duration,
    /// How long running requests may take after SIGTERM.
    #[serde(rename = "shutdownMs", with = "milliseconds")]
    pub shutdown: Duration,
    /// How long an outage of the API server may last before STATUS fails.
    #[serde(rename = "outageMs", with = "milliseconds")]
    pub outage: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The kubelet gives a sandbox four minutes; containerd's CNI plugin has no timeout of its
        // own.
        Self {
            request: Duration::from_secs(220),
            delegate: Duration::from_secs(90),
            pod: Duration::from_millis(2_500),
            status: Duration::from_secs(30),
            readiness: Duration::from_secs(2),
            kubelet: Duration::from_secs(10),
            shutdown: Duration::from_secs(10),
            outage: Duration::from_secs(300),
        }
    }
}

impl Timeouts {
    /// Timeout of one DEL, CHECK, GC or STATUS. A DEL or GC then continues in the background.
    pub fn stop(&self) -> Duration {
        self.request.min(STOP_LIMIT)
    }

    /// How long such a request waits for work that may continue in the background.
    pub fn background(&self) -> Duration {
        (self.stop() / 8).min(BACKGROUND_LIMIT)
    }

    /// Timeout of one network's GC, during which its ADDs wait.
    pub fn collection(&self) -> Duration {
        self.delegate.min(self.stop() / 4)
    }

    /// Timeout of all policies in one request: as configured, but at most half of the shortest
    /// request timeout, which leaves the other half to delegates.
    pub fn policies(&self, config: &PolicyConfig) -> Duration {
        Duration::from_millis(config.request_timeout_ms.get()).min(self.stop() / 2)
    }
}

/// A [`Duration`] as a whole number of milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
}
