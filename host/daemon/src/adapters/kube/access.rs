//! The API server's address and the daemon's credentials: from a pod's service account, a
//! kubeconfig, or the node's own certificate.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Uri;
use hyper::header::HeaderValue;

use super::certificate::NodeCertificate;
use super::certificate::kept;
use super::kubeconfig::{self, Cluster, Kubeconfig, User};
use super::peer::{Peer, Trust};
use super::plugin;

/// Where the kubelet mounts a pod's service account.
const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long credentials read from files are cached, as in client-go.
const FRESH: Duration = Duration::from_secs(60);
/// How long before its expiry a plugin's credential is renewed.
const EARLY: Duration = Duration::from_secs(60);

/// Why there are no credentials. Retrying may help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}")]
    Kubeconfig {
        /// Path of the kubeconfig.
        path: PathBuf,
        #[source]
        source: kubeconfig::Error,
    },
    /// The server's address is invalid.
    #[error("{0:?} is no URL of an API server")]
    Server(String),
    /// A credential file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the credential file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The credential plugin returned no credential.
    #[error("credential plugin")]
    Plugin(#[from] plugin::Error),
    /// The node's own certificate cannot be used.
    #[error(transparent)]
    Kept(#[from] kept::Error),
    /// There is no certificate yet, or it has expired.
    #[error("no certificate of this node in {dir} that is good at present")]
    NoCertificate {
        /// Where certificates are kept.
        dir: PathBuf,
    },
    /// The kubeconfig uses a removed authentication method.
    #[error("auth-provider {0:?} is not supported: use its credential plugin (`exec`)")]
    AuthProvider(String),
    /// Both of two exclusive settings are given. client-go rejects this, too.
    #[error("{0} and {1} are both set, only one may be")]
    Both(&'static str, &'static str),
    /// A token or user name contains bytes that are invalid in a header.
    #[error("credentials that do not fit into a header")]
    Header,
    /// There is no token (yet). Requests would be anonymous.
    #[error("{0} is empty")]
    NoToken(String),
    /// TLS cannot be set up with these credentials.
    #[error("credentials")]
    Unusable(#[from] super::peer::Error),
}

/// The API server and how the daemon authenticates to it.
pub(super) struct Credentials {
    pub(super) peer: Peer,
    pub(super) authorization: Option<HeaderValue>,
    /// How long they are valid before they must be read again.
    pub(super) fresh: Option<Duration>,
}

/// How the API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// With a pod's service account.
    InCluster {
        /// `https://host:port` of the API server.
        server: String,
        /// Directory with `token` and `ca.crt`, which the kubelet replaces in place.
        service_account: PathBuf,
    },
    /// With a kubeconfig at this path.
    Kubeconfig(PathBuf),
    /// With the node's own certificate.
    NodeCertificate(NodeCertificate),
}

impl Access {
    /// In-cluster access from a pod's environment variables; `None` outside a cluster.
    pub fn in_cluster(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let host = given("KUBERNETES_SERVICE_HOST")?;
        let port = given("KUBERNETES_SERVICE_PORT")?;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Some(Self::InCluster {
            server: format!("https://{host}:{port}"),
            service_account: PathBuf::from(SERVICE_ACCOUNT_DIR),
        })
    }

    /// Reads the credentials: before the first request, and after the server rejects them.
    ///
    /// # Errors
    /// [`Error`] names the file.
    pub(super) async fn load(&self) -> Result<Credentials, Error> {
        match self {
            Self::InCluster {
                server,
                service_account,
            } => in_cluster(server, service_account),
            Self::Kubeconfig(path) => {
                let Kubeconfig { cluster, user } = read(path)?;
                let credentials = of_cluster(path, &cluster)?;
                of_user(path, &cluster, &user, credentials).await
            }
            Self::NodeCertificate(own) => {
                let kept = kept::load(&own.dir)?.filter(|kept| kept.ends > SystemTime::now());
                let kept = kept.ok_or_else(|| Error::NoCertificate {
                    dir: own.dir.clone(),
                })?;
                let path = &own.bootstrap_kubeconfig;
                let mut credentials = of_cluster(path, &read(path)?.cluster)?;
                credentials.peer.identity = Some(kept.pem());
                Ok(credentials)
            }
        }
    }
}

fn in_cluster(server: &str, service_account: &Path) -> Result<Credentials, Error> {
    let token = read_token(&service_account.join("token"))?;
    let authority = service_account.join("ca.crt");
    let authorities = std::fs::read(&authority).map_err(|source| Error::Read {
        path: authority,
        source,
    })?;
    Ok(Credentials {
        peer: Peer {
            server: url(server)?,
            name: None,
            trust: Trust::Authorities(authorities),
            identity: None,
        },
        authorization: Some(bearer(&token)?),
        // The kubelet replaces both files in place.
        fresh: Some(FRESH),
    })
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read(path).map_err(of_kubeconfig(path))
}

fn of_kubeconfig(path: &Path) -> impl Fn(kubeconfig::Error) -> Error {
    move |source| Error::Kubeconfig {
        path: path.to_owned(),
        source,
    }
}

/// The server of a cluster, without a user yet.
fn of_cluster(path: &Path, cluster: &Cluster) -> Result<Credentials, Error> {
    let authority = cluster.authority().map_err(of_kubeconfig(path))?;
    let is_insecure = cluster.insecure_skip_tls_verify == Some(true);
    let trust = match authority {
        Some(_) if is_insecure => {
            return Err(Error::Both(
                "certificate-authority",
                "insecure-skip-tls-verify",
            ));
        }
        None if is_insecure => Trust::Anybody,
        Some(authorities) => Trust::Authorities(authorities),
        None => Trust::System,
    };
    Ok(Credentials {
        peer: Peer {
            server: url(&cluster.server)?,
            name: cluster
                .tls_server_name
                .clone()
                .filter(|name| !name.is_empty()),
            trust,
            identity: None,
        },
        authorization: None,
        fresh: None,
    })
}

/// Adds a user's credentials in client-go's order: `tokenFile`, then `token` or a user name; a
/// credential plugin only if there is none of these and no certificate.
async fn of_user(
    path: &Path,
    cluster: &Cluster,
    user: &User,
    mut credentials: Credentials,
) -> Result<Credentials, Error> {
    credentials.peer.identity = user.identity().map_err(of_kubeconfig(path))?;
    let token = user.token.as_deref().filter(|token| !token.is_empty());
    let name = user.username.as_deref().filter(|name| !name.is_empty());
    if name.is_some() && (token.is_some() || user.token_file.is_some()) {
        return Err(Error::Both("username", "token"));
    }
    if user.exec.is_some() && user.auth_provider.is_some() {
        return Err(Error::Both("exec", "auth-provider"));
    }
    if let Some(file) = &user.token_file {
        let token = match (read_token(file), token) {
            (Err(error), Some(token)) => {
                let error = cnidaria_core::report::chain(&error);
                tracing::warn!(error, "tokenFile cannot be used, token is used instead");
                token.to_owned()
            }
            (read, _) => read?,
        };
        credentials.authorization = Some(bearer(&token)?);
        credentials.fresh = Some(FRESH);
    } else if let Some(token) = token {
        credentials.authorization = Some(bearer(token)?);
    } else if let Some(name) = name {
        let password = user.password.as_deref().unwrap_or_default();
        let both = BASE64.encode(format!("{name}:{password}"));
        credentials.authorization = Some(secret(&format!("Basic {both}"))?);
    } else if let Some(exec) = &user.exec
        && credentials.peer.identity.is_none()
    {
        let credential = plugin::run(exec, cluster).await?;
        if let Some(token) = credential.token {
            credentials.authorization = Some(bearer(&token)?);
        }
        credentials.peer.identity = credential.identity;
        credentials.fresh = credential.lasts.map(|lasts| lasts.saturating_sub(EARLY));
    } else if let Some(provider) = &user.auth_provider {
        let token = ["id-token", "access-token"]
            .iter()
            .filter_map(|key| provider.config.get(*key)?.as_str())
            .find(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::AuthProvider(provider.name.clone()))?;
        credentials.authorization = Some(bearer(token)?);
    }
    Ok(credentials)
}

fn read_token(path: &Path) -> Result<String, Error> {
    let token = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    match token.trim() {
        "" => Err(Error::NoToken(path.display().to_string())),
        token => Ok(token.to_owned()),
    }
}

fn url(server: &str) -> Result<Uri, Error> {
    let url: Option<Uri> = server.parse().ok();
    url.filter(|url| url.host().is_some() && url.scheme().is_some())
        .ok_or_else(|| Error::Server(server.to_owned()))
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    secret(&format!("Bearer {}", token.trim()))
}

fn secret(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_environment_tells_the_server() {
        let address = |host: &'static str| {
            Access::in_cluster(move |name| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
                "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
                _ => None,
            })
        };
        let server = |access| match access {
            Some(Access::InCluster { server, .. }) => Some(server),
            _ => None,
        };
        assert_eq!(
            server(address("10.0.0.1")).as_deref(),
            Some("https://10.0.0.1:443")
        );
        assert_eq!(
            server(address("fd00::1")).as_deref(),
            Some("https://[fd00::1]:443")
        );
        assert_eq!(address(""), None);
    }

    #[tokio::test]
    async fn credentials_that_are_missing_are_named() {
        let access = Access::Kubeconfig("/nowhere/kubeconfig".into());
        let error = access.load().await.err().unwrap();
        assert!(error.to_string().contains("/nowhere/kubeconfig"), "{error}");
        let access = Access::InCluster {
            server: "https://10.0.0.1:443".into(),
            service_account: "/nowhere".into(),
        };
        let error = access.load().await.err().unwrap();
        assert_eq!(error.to_string(), "cannot read /nowhere/token");
    }

    /// Loads a kubeconfig with one cluster and one user, in a directory with a file `token`.
    async fn load(cluster: &str, user: &str) -> Result<Credentials, Error> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "t\n").unwrap();
        let path = dir.path().join("kubeconfig");
        let text = format!(
            r#"{{"current-context":"c","contexts":[{{"name":"c","context":{{"cluster":"c","user":"u"}}}}],
                "clusters":[{{"name":"c","cluster":{{"server":"https://a",{cluster}}}}}],"users":[{{"name":"u","user":{user}}}]}}"#
        );
        std::fs::write(&path, text).unwrap();
        Access::Kubeconfig(path).load().await
    }

    const ANY: &str = r#""tls-server-name":"""#;
    const EXEC: &str = r#""exec":{"command":"sh","args":["-c","echo status: {token: p}"]}"#;
    const PROVIDER: &str = r#""auth-provider":{"name":"oidc","config":{"id-token":"i"}}"#;

    #[tokio::test]
    async fn a_user_shows_what_its_kubeconfig_has() {
        for (user, expected, fresh) in [
            (r#""tokenFile":"token""#.into(), "Bearer t", Some(FRESH)),
            (
                r#""username":"a","password":"b""#.into(),
                "Basic YTpi",
                None,
            ),
            (r#""username":"a""#.into(), "Basic YTo=", None),
            (PROVIDER.into(), "Bearer i", None),
            (EXEC.into(), "Bearer p", None),
            // The first in client-go's order wins.
            (
                r#""token":"s3cret","tokenFile":"token""#.into(),
                "Bearer t",
                Some(FRESH),
            ),
            (
                r#""token":"s3cret","tokenFile":"gone""#.into(),
                "Bearer s3cret",
                Some(FRESH),
            ),
            (
                r#""token":"s3cret","tokenFile":"","client-key":"""#.into(),
                "Bearer s3cret",
                None,
            ),
            (
                format!(r#""token":"s3cret",{PROVIDER}"#),
                "Bearer s3cret",
                None,
            ),
            (format!(r#""token":"s3cret",{EXEC}"#), "Bearer s3cret", None),
            (
                format!(r#""tokenFile":"token",{EXEC}"#),
                "Bearer t",
                Some(FRESH),
            ),
            (format!(r#""username":"a",{EXEC}"#), "Basic YTo=", None),
        ] {
            let credentials = load(ANY, &format!("{{{user}}}")).await.ok().unwrap();
            assert_eq!(credentials.authorization.unwrap(), expected, "{user}");
            assert_eq!(credentials.fresh, fresh, "{user}");
        }
    }

    #[tokio::test]
    async fn a_certificate_is_preferred_to_a_plugin() {
        let user = format!(
            r#"{{"client-certificate-data":"Q0VS\nVA==\n","client-key-data":"S0VZ",{EXEC}}}"#
        );
        let credentials = load(ANY, &user).await.ok().unwrap();
        assert_eq!(credentials.peer.identity.unwrap(), b"KEY\nCERT");
        assert!(credentials.authorization.is_none());
    }

    #[tokio::test]
    async fn what_client_go_refuses_is_refused() {
        let insecure = r#""certificate-authority-data":"Q0E=","insecure-skip-tls-verify":true"#;
        let (exec, provider) = (format!("{{{EXEC},{PROVIDER}}}"), "exec and auth-provider");
        for (cluster, user, expected) in [
            (ANY, r#"{"username":"a","token":"t"}"#, "username and token"),
            (
                ANY,
                r#"{"username":"a","tokenFile":"token"}"#,
                "username and token",
            ),
            (ANY, exec.as_str(), provider),
            (
                insecure,
                "{}",
                "certificate-authority and insecure-skip-tls-verify",
            ),
        ] {
            let error = load(cluster, user).await.err().unwrap().to_string();
            assert_eq!(error, format!("{expected} are both set, only one may be"));
        }
    }
}
