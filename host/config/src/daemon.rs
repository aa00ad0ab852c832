//! The daemon's configuration file: Multus' `daemon-config.json` unchanged, with the project's own
//! settings under the single key `cnidaria`.

use std::path::{Path, PathBuf};

use cni_types::json::RawObject;
use cni_types::version::ConfVersion;
use cnidaria_core::conf::logging::Logging;
use cnidaria_core::conf::net_conf::{self, NetConf};
use cnidaria_core::conf::value;
use cnidaria_kube::config::{self as api_server, ApiServer};
use serde_json::value::RawValue;

use super::conf_file::{self, ConfFile};
use super::keys;
use super::own::OwnConfig;
use super::shape;

/// Where Multus' thick plugin looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/cni/net.d/multus.d/daemon-config.json";
pub(crate) const OWN_KEY: &str = "cnidaria";
/// More threads than any node has processors.
const MAX_THREADS: usize = 1024;

/// Why the configuration cannot be used. The daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("not a JSON object")]
    Json(#[source] cni_types::json::Error),
    /// One of Multus' keys has a wrong value.
    #[error(transparent)]
    Value(#[from] value::Error),
    /// One of the project's own keys has a wrong value.
    #[error("{OWN_KEY}: {path}")]
    Own {
        /// Path of the key.
        path: String,
        /// What is wrong with it.
        #[source]
        source: cni_types::json::Cause,
    },
    /// A key that overlays the CNI confs is invalid, so that every request would fail.
    #[error(transparent)]
    Overlay(net_conf::Error),
    /// The keys about the runtime's conf are invalid.
    #[error(transparent)]
    ConfFile(#[from] conf_file::Error),
    /// The keys about the API server are invalid.
    #[error(transparent)]
    ApiServer(#[from] api_server::Error),
    /// The connection limit is so low that no shim could connect.
    #[error("connectionLimit: must be greater than 0, found {0}")]
    ConnectionLimit(i64),
}

/// The daemon's configuration.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Directory of the socket. Created with mode 0700.
    pub socket_dir: PathBuf,
    /// Where the log goes.
    pub logging: Logging,
    /// How many connections are served at once.
    pub connection_limit: Option<usize>,
    /// How the API server is reached, unless there is a directory of manifests.
    pub api_server: ApiServer,
    /// Port for metrics, on all addresses of the node.
    pub metrics_port: Option<u16>,
    /// Where the node's root directory is mounted; delegates run there.
    pub chroot_dir: Option<PathBuf>,
    /// The conf to provide for the runtime.
    pub conf_file: ConfFile,
    /// Problems of the file to log that do not prevent the start.
    pub warnings: Vec<String>,
    /// The ledger's directory for requests whose CNI conf sets none.
    pub cni_dir: PathBuf,
    /// Keys of the file that override those of each CNI conf, as in Multus.
    pub overrides: RawObject,
    /// The project's own settings.
    pub own: OwnConfig,
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

    /// Parses the text of the file.
    ///
    /// # Errors
    /// [`Error`] names the key and the value.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let file = RawObject::parse(text).map_err(Error::Json)?;
        let (mut overrides, mut warnings) = keys::canonical(&file);
        let own = match overrides.remove(OWN_KEY) {
            Some(raw) => own(&raw)?,
            None => OwnConfig::default(),
        };
        if let Some(version) = value::optional::<String>(&overrides, "cniVersion", "a string")?
            && let Err(error) = ConfVersion::parse(&version)
        {
            warnings.push(format!("cniVersion: {error}"));
        }
        let path = |key: &str, default: &str| -> Result<PathBuf, value::Error> {
            let path = value::optional::<PathBuf>(&overrides, key, "a path")?;
            let path = path.filter(|path| !path.as_os_str().is_empty());
            Ok(path.unwrap_or_else(|| PathBuf::from(default)))
        };
        NetConf::of_daemon(&overrides).map_err(Error::Overlay)?;
        Ok(Self {
            socket_dir: path("socketDir", shim_api::endpoint::DEFAULT_SOCKET_DIR)?,
            cni_dir: path("cniDir", cnidaria_core::conf::net_conf::DEFAULT_CNI_DIR)?,
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

/// The settings under [`OWN_KEY`].
fn own(raw: &RawValue) -> Result<OwnConfig, Error> {
    let wrong = |path: String, source: serde_json::Error| Error::Own {
        path,
        source: source.into(),
    };
    let value = serde_json::from_str(raw.get()).map_err(|error| wrong(".".to_owned(), error))?;
    if let Some((path, error)) = shape::not_an_object(&value) {
        return Err(wrong(path, error));
    }
    let mut text = serde_json::Deserializer::from_str(raw.get());
    let own: OwnConfig = serde_path_to_error::deserialize(&mut text)
        .map_err(|error| wrong(error.path().to_string(), error.into_inner()))?;
    if own.threads.get() > MAX_THREADS {
        let problem = format!("expected at most {MAX_THREADS}, found {}", own.threads);
        let error = serde::de::Error::custom(problem);
        return Err(wrong("threads".to_owned(), error));
    }
    Ok(own)
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
    use std::time::Duration;

    use super::*;
    use cnidaria_core::conf::logging::LogLevel;

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
    fn own_settings_do_not_override_the_conf() {
        let config = DaemonConfig::parse(
            br#"{"cnidaria":{"manifests":"/m","policies":{"modules":"/p"},"timeouts":{"delegateMs":5}}}"#,
        )
        .unwrap();
        assert_eq!(config.own.manifests.as_deref(), Some(Path::new("/m")));
        assert_eq!(config.own.timeouts.delegate, Duration::from_millis(5));
        assert!(config.overrides.get(OWN_KEY).is_none());
    }

    #[test]
    fn unknown_own_key_or_bad_value_is_named() {
        for (text, expected) in [
            (r#"{"manifest":"/m"}"#, "unknown field `manifest`"),
            (
                r#"{"timeouts":{"podMs":"x"}}"#,
                "timeouts.podMs: invalid type: string",
            ),
            (r#"{"threads":4096}"#, "threads: expected at most 1024"),
            (r#"[]"#, "expected an object, found a list"),
            (r#"{"trace":[5]}"#, "trace: expected an object"),
            (
                r#"{"policies":{"modules":"/p","requestTimeoutMs":0}}"#,
                "policies.requestTimeoutMs: invalid value: integer `0`",
            ),
            (r#"{"threads":0}"#, "threads: invalid value: integer `0`"),
        ] {
            let text = format!(r#"{{"cnidaria":{text}}}"#);
            let error = DaemonConfig::parse(text.as_bytes()).unwrap_err();
            let error = cnidaria_core::report::chain(&error);
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
    fn unusable_settings_are_rejected_at_start() {
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
