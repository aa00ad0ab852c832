//! The project's own settings: the key `cnidaria` of the daemon's configuration file. What the file
//! leaves out has its default after parsing; an unknown key is an error.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policies::PolicyConfig;
use crate::domain::limits::Limits;

/// The kubelet gives a runtime two minutes to stop a sandbox.
const STOP_LIMIT: Duration = Duration::from_secs(110);

/// How long a runtime can well wait for a DEL that may be answered without its delegates.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(10);

/// The settings under the key `cnidaria`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OwnConfig {
    /// Directory of Pod and NAD manifests, instead of a cluster.
    pub manifests: Option<PathBuf>,
    /// Directory of network-status without a cluster; `<manifests>.status` where absent.
    pub status_dir: Option<PathBuf>,
    /// Name of this node; from `MULTUS_NODE_NAME` or the host where absent.
    pub node_name: Option<String>,
    /// The policies; none where absent.
    pub policies: Option<PolicyConfig>,
    /// Sources of the devices that pods have.
    pub kubelet: KubeletConfig,
    /// Directory of the device-info specification, as delegates have it.
    pub device_info_dir: PathBuf,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Limits of confs and annotations that tenants write.
    pub limits: Limits,
    /// Threads that serve requests.
    pub threads: NonZeroUsize,
    /// Delegates of one network that run at once.
    pub delegates_at_once: usize,
    /// Control group in which delegates run, as the node has it; the daemon's where absent.
    pub delegate_cgroup: Option<PathBuf>,
    /// Attachments of one pod that are made at once, after its default network.
    pub attachments_at_once: NonZeroUsize,
    /// When the ledger is safe from a loss of power.
    pub durability: Durability,
    /// Sandboxes that the ledger may have.
    pub ledger_limit: usize,
    /// Whether shims may record DELs that find no daemon.
    pub defer_dels: bool,
    /// Types of delegates, beside those that are known, whose DEL may come when the namespace is gone.
    pub defer_dels_of: BTreeSet<String>,
    /// Form of the lines of the log.
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
            // More than any node runs: what is beyond was never deleted.
            ledger_limit: 100_000,
            defer_dels: true,
            defer_dels_of: BTreeSet::new(),
            log_format: LogFormat::default(),
        }
    }
}

/// Files of the kubelet, as the node has them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KubeletConfig {
    /// Socket of the pod-resources API.
    pub pod_resources_socket: PathBuf,
    /// Checkpoint of the device plugins, read where the socket does not answer.
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

/// When writes of the ledger survive a loss of power. They always survive the death of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Within a second; no request waits for the disk, and a torn file is detected.
    #[default]
    Grouped,
    /// Before a delegate runs.
    Strict,
}

/// Form of the lines of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Deadlines, in milliseconds in the file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// One ADD, also by hot-plug; what it began is undone beyond that.
    #[serde(rename = "requestMs", with = "milliseconds")]
    pub request: Duration,
    /// One execution of a delegate.
    #[serde(rename = "delegateMs", with = "milliseconds")]
    pub delegate: Duration,
    /// How long an ADD waits for its pod to appear.
    #[serde(rename = "podMs", with = "milliseconds")]
    pub pod: Duration,
    /// How long a write of network-status is tried.
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
    /// How long the API server may be away before STATUS fails.
    #[serde(rename = "outageMs", with = "milliseconds")]
    pub outage: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The kubelet gives a sandbox four minutes; containerd's CNI plugin has no limit of its own.
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
    /// One DEL, CHECK, GC or STATUS. What a DEL or a GC has not done by then goes on in the background.
    pub fn stop(&self) -> Duration {
        self.request.min(STOP_LIMIT)
    }

    /// How long such a request waits for work that may go on in the background.
    pub fn background(&self) -> Duration {
        (self.stop() / 8).min(BACKGROUND_LIMIT)
    }

    /// How long the delegates of one network may collect garbage. ADDs of the network wait for that.
    pub fn collection(&self) -> Duration {
        self.delegate.min(self.stop() / 4)
    }

    /// All policies together in one request: as configured, and at most half of the shortest
    /// request, so that delegates have the other half.
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
