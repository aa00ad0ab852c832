//! The daemon's configuration file: Multus' `daemon-config.json` as it is, with the project's own
//! settings under the one key `cnidaria`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_types::json::RawObject;
use serde::Deserialize;

use super::api_server::{self, ApiServer};
use super::conf_file::{self, ConfFile};
use super::logging::Logging;
use super::net_conf::{self, NetConf};
use super::policies::PolicyConfig;
use super::{keys, value};

/// Where Multus' thick plugin looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/cni/net.d/multus.d/daemon-config.json";
const OWN_KEY: &str = "cnidaria";

/// Why the configuration cannot be used. The daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not a JSON object.
    #[error("not a JSON object")]
    Json(#[source] cni_types::json::Error),
    /// One of Multus' keys.
    #[error(transparent)]
    Value(#[from] value::Error),
    /// One of our own keys.
    #[error("{OWN_KEY}: {path}")]
    Own {
        /// Which of them.
        path: String,
        /// What is wrong with it.
        #[source]
        source: cni_types::json::Cause,
    },
    /// A key that overlays the CNI conf of requests, which could never be answered with it.
    #[error(transparent)]
    Overlay(net_conf::Error),
    /// The conf for the runtime.
    #[error(transparent)]
    ConfFile(#[from] conf_file::Error),
    /// Who the daemon is to the API server.
    #[error(transparent)]
    ApiServer(#[from] api_server::Error),
    /// Nobody could connect.
    #[error("connectionLimit: must be greater than 0, found {0}")]
    ConnectionLimit(i64),
}

/// What the daemon was started with.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Directory of the socket. Made with mode 0700.
    pub socket_dir: PathBuf,
    /// Where the log goes.
    pub logging: Logging,
    /// How many connections are served at once.
    pub connection_limit: Option<usize>,
    /// How the API server is reached, where there is no directory of manifests.
    pub api_server: ApiServer,
    /// Where metrics are served, on all addresses of the node.
    pub metrics_port: Option<u16>,
    /// Where the node's root is mounted: delegates run there.
    pub chroot_dir: Option<PathBuf>,
    /// The conf that the runtime finds.
    pub conf_file: ConfFile,
    /// What somebody should be told of the file; it can be used all the same.
    pub warnings: Vec<String>,
    /// The ledger's directory where the CNI conf names none.
    pub cni_dir: PathBuf,
    /// Keys of the file that override those of each CNI conf, as Multus does it.
    pub overrides: RawObject,
    /// Our own settings.
    pub own: OwnConfig,
}

/// The settings under the key `cnidaria`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OwnConfig {
    /// Directory of Pod and NAD manifests, instead of a cluster.
    pub manifests: Option<PathBuf>,
    /// Where network-status goes without a cluster; `<manifests>.status` where absent.
    pub status_dir: Option<PathBuf>,
    /// The name of this node.
    pub node_name: Option<String>,
    /// The policies; none where absent.
    pub policies: Option<PolicyConfig>,
    /// Where the kubelet tells which devices pods have.
    pub kubelet: KubeletConfig,
    /// Where devices are described; `/var/run/k8s.cni.cncf.io/devinfo` where absent.
    pub device_info_dir: Option<PathBuf>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How many threads serve requests; one where absent.
    pub threads: Option<NonZeroUsize>,
    /// How many delegates of one network run at once; four for each processor, and at least 16, where
    /// absent.
    pub delegates_at_once: Option<usize>,
    /// The control group that delegates run in, as the node has it; the daemon's where absent.
    pub delegate_cgroup: Option<PathBuf>,
    /// How many attachments of one pod are made at once, after its default network; one where absent.
    pub attachments_at_once: Option<usize>,
    /// When the ledger reaches the disk: `grouped` or `strict`.
    pub durability: Durability,
    /// How many sandboxes the ledger may have; [`DEFAULT_LEDGER_LIMIT`] where absent.
    pub ledger_limit: Option<usize>,
    /// Whether shims may record DELs while no daemon is there; they may where absent.
    pub defer_dels: Option<bool>,
    /// Types of delegates, beside those that are known, whose DEL may come when the namespace is gone.
    pub defer_dels_of: BTreeSet<String>,
    /// `text` or `json`.
    pub log_format: LogFormat,
}

impl OwnConfig {
    /// The directory of the device-info specification, as delegates have it.
    pub fn device_info_dir(&self) -> &Path {
        self.device_info_dir
            .as_deref()
            .unwrap_or(Path::new("/var/run/k8s.cni.cncf.io/devinfo"))
    }
}

/// The kubelet's files, as the node has them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KubeletConfig {
    /// Socket of the pod-resources API.
    pub pod_resources_socket: PathBuf,
    /// File with the devices of device plugins, where nobody listens on the socket.
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

/// More sandboxes than any node has: what is beyond was never deleted.
pub const DEFAULT_LEDGER_LIMIT: usize = 100_000;

/// When what the ledger writes is safe from a loss of power. From the death of the daemon it always
/// is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Within a second; no request waits for it. What a loss of power tears is noticed.
    #[default]
    Grouped,
    /// Before a delegate is executed.
    Strict,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The kubelet gives a runtime two minutes to stop a sandbox.
const STOP_LIMIT: Duration = Duration::from_secs(110);

/// As long as a runtime can well wait for a DEL that may be answered without its delegates.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(10);

/// Deadlines, in milliseconds in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Timeouts {
    request_ms: u64,
    delegate_ms: u64,
    pod_ms: u64,
    status_ms: u64,
    readiness_ms: u64,
    kubelet_ms: u64,
    shutdown_ms: u64,
    outage_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The kubelet gives a sandbox four minutes, containerd's CNI plugin none of its own.
        Self {
            request_ms: 220_000,
            delegate_ms: 90_000,
            pod_ms: 2_500,
            status_ms: 30_000,
            readiness_ms: 2_000,
            kubelet_ms: 10_000,
            shutdown_ms: 10_000,
            outage_ms: 300_000,
        }
    }
}

impl Timeouts {
    /// The whole of one request. What it began is undone beyond that.
    pub fn request(&self) -> Duration {
        Duration::from_millis(self.request_ms)
    }

    /// A request that stops something or asks about it: DEL, CHECK, GC, STATUS. What a DEL or a GC
    /// has not done by then goes on in the background.
    pub fn stop(&self) -> Duration {
        self.request().min(STOP_LIMIT)
    }

    /// How long such a request waits for what may go on in the background.
    pub fn background(&self) -> Duration {
        (self.stop() / 8).min(BACKGROUND_LIMIT)
    }

    /// How long the delegates of one network may collect garbage. ADDs of the network wait for that.
    pub fn collection(&self) -> Duration {
        self.delegate().min(self.stop() / 4)
    }

    /// All policies together in one request: what is configured, and at most half of the shortest
    /// request, so that the other half is left for the delegates.
    pub fn policies(&self, config: &PolicyConfig) -> Duration {
        Duration::from_millis(config.request_timeout_ms.get()).min(self.stop() / 2)
    }

    /// One execution of a delegate.
    pub fn delegate(&self) -> Duration {
        Duration::from_millis(self.delegate_ms)
    }

    /// How long an ADD waits for its pod to appear.
    pub fn pod(&self) -> Duration {
        Duration::from_millis(self.pod_ms)
    }

    /// How long a write of network-status is tried.
    pub fn status(&self) -> Duration {
        Duration::from_millis(self.status_ms)
    }

    /// How long an ADD waits for the readiness indicator file.
    pub fn readiness(&self) -> Duration {
        Duration::from_millis(self.readiness_ms)
    }

    /// How long the kubelet may take to tell which devices a pod has.
    pub fn kubelet(&self) -> Duration {
        Duration::from_millis(self.kubelet_ms)
    }

    /// How long running requests may take after SIGTERM.
    pub fn shutdown(&self) -> Duration {
        Duration::from_millis(self.shutdown_ms)
    }

    /// How long the API server may be away before STATUS says so.
    pub fn outage(&self) -> Duration {
        Duration::from_millis(self.outage_ms)
    }
}

impl DaemonConfig {
    /// Reads and checks the file. Called once, before anything is opened or bound.
    ///
    /// # Errors
    /// [`Error`] names the key and the value.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Checks the text of the file.
    ///
    /// # Errors
    /// [`Error`] names the key and the value.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let file = RawObject::parse(text).map_err(Error::Json)?;
        let (mut overrides, mut warnings) = keys::canonical(&file);
        let own = match overrides.remove(OWN_KEY) {
            Some(raw) => {
                let mut own = serde_json::Deserializer::from_str(raw.get());
                serde_path_to_error::deserialize(&mut own).map_err(|error| Error::Own {
                    path: error.path().to_string(),
                    source: error.into_inner().into(),
                })?
            }
            None => OwnConfig::default(),
        };
        let path = |key: &str, default: &str| -> Result<PathBuf, value::Error> {
            Ok(value::optional(&overrides, key, "a path")?
                .unwrap_or_else(|| PathBuf::from(default)))
        };
        NetConf::of_daemon(&overrides).map_err(Error::Overlay)?;
        Ok(Self {
            socket_dir: path("socketDir", shim_api::endpoint::DEFAULT_SOCKET_DIR)?,
            cni_dir: path("cniDir", super::net_conf::DEFAULT_CNI_DIR)?,
            logging: Logging::parse(&overrides, &mut warnings)?,
            connection_limit: connection_limit(&overrides)?,
            api_server: ApiServer::parse(&overrides)?,
            metrics_port: value::optional(&overrides, "metricsPort", "a port")?,
            chroot_dir: value::optional::<PathBuf>(&overrides, "chrootDir", "a path")?
                .filter(|dir| !dir.as_os_str().is_empty()),
            conf_file: ConfFile::parse(&overrides)?,
            warnings,
            overrides,
            own,
        })
    }
}

fn connection_limit(keys: &RawObject) -> Result<Option<usize>, Error> {
    let limit: Option<i64> = value::optional(keys, "connectionLimit", "a number of connections")?;
    limit
        .map(|limit| match usize::try_from(limit) {
            Ok(limit) if limit > 0 => Ok(limit),
            _ => Err(Error::ConnectionLimit(limit)),
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::logging::LogLevel;

    #[test]
    fn a_file_of_multus_is_taken_as_it_is() {
        let config = DaemonConfig::parse(
            br#"{"cniVersion":"1.1.0","logLevel":"verbose","logToStderr":true,"cniConfigDir":"/etc/cni/net.d",
                 "multusAutoconfigDir":"/host/etc/cni/net.d","multusConfigFile":"auto","socketDir":"/host/run/multus/",
                 "binDir":"/opt/cni/bin","connectionLimit":100}"#,
        )
        .unwrap();
        assert_eq!(config.socket_dir, Path::new("/host/run/multus/"));
        assert_eq!(config.logging.level, LogLevel::Verbose);
        assert_eq!(config.connection_limit, Some(100));
        assert_eq!(
            config.overrides.get("binDir").unwrap().get(),
            r#""/opt/cni/bin""#
        );
    }

    #[test]
    fn own_settings_live_under_one_key_and_override_no_conf() {
        let config = DaemonConfig::parse(
            br#"{"cnidaria":{"manifests":"/m","policies":{"modules":"/p"},"timeouts":{"delegateMs":5}}}"#,
        )
        .unwrap();
        assert_eq!(config.own.manifests.as_deref(), Some(Path::new("/m")));
        assert_eq!(config.own.timeouts.delegate(), Duration::from_millis(5));
        assert!(config.overrides.get(OWN_KEY).is_none());
    }

    #[test]
    fn an_unknown_own_key_or_a_value_that_cannot_be_is_an_error_that_names_it() {
        for (text, expected) in [
            (r#"{"manifest":"/m"}"#, "unknown field `manifest`"),
            (
                r#"{"timeouts":{"podMs":"x"}}"#,
                "timeouts.podMs: invalid type: string",
            ),
            (
                r#"{"policies":{"modules":"/p","requestTimeoutMs":0}}"#,
                "policies.requestTimeoutMs: invalid value: integer `0`",
            ),
            (r#"{"threads":0}"#, "threads: invalid value: integer `0`"),
        ] {
            let text = format!(r#"{{"cnidaria":{text}}}"#);
            let error = DaemonConfig::parse(text.as_bytes()).unwrap_err();
            let error = crate::report::chain(&error);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_passed_on_and_warned_about() {
        let config = DaemonConfig::parse(br#"{"sockteDir":"/x"}"#).unwrap();
        assert_eq!(config.overrides.get("sockteDir").unwrap().get(), r#""/x""#);
        let [warning] = config.warnings.as_slice() else {
            panic!("{:?}", config.warnings);
        };
        assert!(warning.contains(r#"did you mean "socketDir""#), "{warning}");
    }

    #[test]
    fn what_no_request_could_be_answered_with_is_refused_at_once() {
        for (text, expected) in [
            (
                r#"{"systemNamespaces":"kube-system"}"#,
                "systemNamespaces: expected a list",
            ),
            (
                r#"{"connectionLimit":0}"#,
                "connectionLimit: must be greater than 0, found 0",
            ),
            (
                r#"{"connectionLimit":"x"}"#,
                "connectionLimit: expected a number",
            ),
        ] {
            let error = DaemonConfig::parse(text.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_value_of_a_wrong_type_is_named_with_its_key() {
        let error = DaemonConfig::parse(br#"{"socketDir":7}"#).unwrap_err();
        assert_eq!(error.to_string(), "socketDir: expected a path, found 7");
    }
}
