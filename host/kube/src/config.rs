//! The API server's address and the daemon's credentials: Multus' keys `kubeconfig` and
//! `perNodeCertificate`; without them, the pod's service account.

use std::path::PathBuf;
use std::time::Duration;

use cni_types::json::RawObject;
use serde::Deserialize;

use cnidaria_core::conf::value;

use crate::access::Access;
use crate::access::NodeCertificate;

/// Lifetime to request for the node's own certificate without `certDuration`, as in Multus.
const CERT_DURATION: Duration = Duration::from_secs(600);

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value has the wrong type.
    #[error(transparent)]
    Value(#[from] value::Error),
    /// A key that a node's own certificate requires is missing.
    #[error("perNodeCertificate.{0}: must be set where perNodeCertificate is enabled")]
    Missing(&'static str),
    /// Not a duration in Go's syntax.
    #[error("perNodeCertificate.certDuration: expected a duration such as \"24h\", found {0:?}")]
    Duration(String),
}

/// How the API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiServer {
    /// With a pod's service account.
    InCluster,
    /// With the kubeconfig at this path (`kubeconfig`).
    Kubeconfig(PathBuf),
    /// With the node's own certificate (`perNodeCertificate`, enabled).
    PerNodeCertificate {
        /// Kubeconfig that authenticates the request for the first certificate.
        bootstrap_kubeconfig: PathBuf,
        /// Directory where the certificate is stored.
        cert_dir: PathBuf,
        /// Lifetime to request for a certificate.
        duration: Duration,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PerNodeCertificate {
    enabled: bool,
    bootstrap_kubeconfig: Option<PathBuf>,
    cert_dir: Option<PathBuf>,
    cert_duration: Option<String>,
}

impl ApiServer {
    /// Parses the keys of the daemon's file.
    ///
    /// # Errors
    /// [`Error`] names the key.
    pub fn parse(keys: &RawObject) -> Result<Self, Error> {
        let per_node: PerNodeCertificate =
            value::optional(keys, "perNodeCertificate", "an object")?.unwrap_or_default();
        if per_node.enabled {
            let given = |path: Option<PathBuf>, key| {
                path.filter(|path| !path.as_os_str().is_empty())
                    .ok_or(Error::Missing(key))
            };
            return Ok(Self::PerNodeCertificate {
                bootstrap_kubeconfig: given(per_node.bootstrap_kubeconfig, "bootstrapKubeconfig")?,
                cert_dir: given(per_node.cert_dir, "certDir")?,
                duration: match per_node.cert_duration.filter(|text| !text.is_empty()) {
                    Some(text) => go_duration(&text).ok_or(Error::Duration(text))?,
                    None => CERT_DURATION,
                },
            });
        }
        let kubeconfig = value::optional::<PathBuf>(keys, "kubeconfig", "a path")?;
        Ok(kubeconfig
            .filter(|path| !path.as_os_str().is_empty())
            .map_or(Self::InCluster, Self::Kubeconfig))
    }

    /// The access from the node with this name. `None` without keys and outside of a pod, which
    /// `variable`, a lookup in the environment, tells.
    pub fn access(&self, node: &str, variable: impl Fn(&str) -> Option<String>) -> Option<Access> {
        match self {
            Self::InCluster => Access::in_cluster(variable),
            Self::Kubeconfig(path) => Some(Access::Kubeconfig(path.clone())),
            Self::PerNodeCertificate {
                bootstrap_kubeconfig,
                cert_dir,
                duration,
            } => Some(Access::NodeCertificate(NodeCertificate {
                bootstrap_kubeconfig: bootstrap_kubeconfig.clone(),
                dir: cert_dir.clone(),
                node: node.to_owned(),
                lifetime: *duration,
            })),
        }
    }
}

/// A positive duration in the syntax of Go's `time.ParseDuration`: `1h30m`, `0.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .map(|end| rest.split_at(end))?;
        let unit_end = number
            .1
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(number.1.len());
        let (unit, next) = number.1.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = number.0.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = next;
    }
    (total > Duration::ZERO).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ApiServer, String> {
        let keys = RawObject::parse(text.as_bytes()).unwrap();
        ApiServer::parse(&keys).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pod_of_the_cluster_needs_no_key() {
        assert_eq!(parse("{}"), Ok(ApiServer::InCluster));
        assert_eq!(
            parse(r#"{"kubeconfig":"","perNodeCertificate":{"enabled":false}}"#),
            Ok(ApiServer::InCluster)
        );
        assert_eq!(
            parse(r#"{"kubeconfig":"/k"}"#),
            Ok(ApiServer::Kubeconfig("/k".into()))
        );
    }

    #[test]
    fn access_needs_keys_or_a_service_account() {
        let access = parse("{}").unwrap().access("node1", |_| None);
        assert!(access.is_none());
    }

    #[test]
    fn per_node_certificate_requires_cert_dir() {
        assert_eq!(
            parse(
                r#"{"perNodeCertificate":{"enabled":true,"bootstrapKubeconfig":"/b","certDir":"/c","certDuration":"24h"}}"#
            ),
            Ok(ApiServer::PerNodeCertificate {
                bootstrap_kubeconfig: "/b".into(),
                cert_dir: "/c".into(),
                duration: Duration::from_secs(24 * 3600),
            })
        );
        let error = parse(r#"{"perNodeCertificate":{"enabled":true,"bootstrapKubeconfig":"/b"}}"#);
        assert_eq!(
            error.unwrap_err(),
            "perNodeCertificate.certDir: must be set where perNodeCertificate is enabled"
        );
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(go_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        for wrong in ["", "10", "-1h", "1d", "h", "0s", "1e400h"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }
}
