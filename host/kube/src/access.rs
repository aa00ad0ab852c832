//! The API server's address and the daemon's credentials: from a pod's service account, a
//! kubeconfig, or the node's own certificate. What the client library would choose differently from
//! client-go, or would do without bounds, is decided here: the library gets one credential.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::HeaderValue;
use kube::Config;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

use super::certificate::stored;
use super::kubeconfig;
use super::plugin;

/// Where the kubelet mounts a pod's service account.
const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long credentials read from files are cached, as in client-go.
const FRESH: Duration = Duration::from_secs(60);
/// How long before its expiry a plugin's credential is renewed.
const EARLY: Duration = Duration::from_secs(60);

/// Why credentials are missing. Retrying may help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}")]
    Kubeconfig {
        /// Path of the kubeconfig.
        path: PathBuf,
        #[source]
        source: kubeconfig::Error,
    },
    /// The server's address is not a URL.
    #[error("{0:?} is not a URL of an API server")]
    Server(String),
    /// A credential file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the credential file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file has no certificate of a CA.
    #[error("{0} has no certificate")]
    NoAuthority(PathBuf),
    /// The credential plugin returned no credential.
    #[error("credential plugin")]
    Plugin(#[from] plugin::Error),
    /// The node's own certificate cannot be used.
    #[error(transparent)]
    Stored(#[from] stored::Error),
    /// The certificate does not exist yet, or has expired.
    #[error("no valid certificate of this node in {dir}")]
    NoCertificate {
        /// Where certificates are stored.
        dir: PathBuf,
    },
    /// The kubeconfig uses a removed authentication method.
    #[error("auth-provider {0:?} is not supported: use its credential plugin (`exec`)")]
    AuthProvider(String),
    /// A token contains bytes that are invalid in a header.
    #[error("credentials that do not fit into a header")]
    Header,
    /// The token is empty (yet). Requests would be anonymous.
    #[error("{0} is empty")]
    NoToken(String),
    /// The library does not accept the credentials.
    #[error("credentials")]
    Unusable(#[source] kube::Error),
    /// The client certificate or its key cannot be loaded.
    #[error("credentials")]
    Identity(#[source] kubeconfig::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::InferKubeconfig(error) => Self::Identity(error.into()),
            error => Self::Unusable(error),
        }
    }
}

/// The API server and how the daemon authenticates to it.
pub(crate) struct Credentials {
    /// Has one credential that the library uses as it is: a token, a user name, or none of both; and
    /// a client certificate if there is one.
    pub(crate) config: Config,
    /// How long they are valid before they must be read again.
    pub(crate) fresh: Option<Duration>,
}

/// The certificate to obtain, and where to store it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// Has the API server's address and the credentials for the first request.
    pub bootstrap_kubeconfig: PathBuf,
    /// Directory where certificates are stored.
    pub dir: PathBuf,
    /// Name of this node.
    pub node: String,
    /// The lifetime to request. The API server may choose another, and rejects less than ten
    /// minutes.
    pub lifetime: Duration,
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
    pub(crate) async fn load(&self) -> Result<Credentials, Error> {
        match self {
            Self::InCluster {
                server,
                service_account,
            } => in_cluster(server, service_account),
            Self::Kubeconfig(path) => {
                let mut config = read(path)?;
                let (user, fresh) = choose(path, &config.auth_info).await?;
                config.auth_info = user;
                Ok(Credentials { config, fresh })
            }
            Self::NodeCertificate(own) => {
                let certificate = stored::load(&own.dir)?.filter(stored::Certificate::is_valid);
                let certificate = certificate.ok_or_else(|| Error::NoCertificate {
                    dir: own.dir.clone(),
                })?;
                let mut config = read(&own.bootstrap_kubeconfig)?;
                config.auth_info = AuthInfo::default();
                identify(&mut config.auth_info, &certificate.pem());
                Ok(Credentials {
                    config,
                    fresh: None,
                })
            }
        }
    }
}

fn in_cluster(server: &str, service_account: &Path) -> Result<Credentials, Error> {
    let token = read_token(&service_account.join("token"))?;
    let path = service_account.join("ca.crt");
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(Error::Read { path, source }),
    };
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(|certificate| Some(certificate.ok()?.to_vec()))
        .collect();
    if authorities.is_empty() {
        return Err(Error::NoAuthority(path));
    }
    let url = server.parse().map_err(|_| Error::Server(server.to_owned()));
    let mut config = Config::new(url?);
    config.root_cert = Some(authorities);
    config.auth_info.token = Some(bearer(&token)?);
    Ok(Credentials {
        config,
        // The kubelet replaces both files in place.
        fresh: Some(FRESH),
    })
}

fn read(path: &Path) -> Result<Config, Error> {
    kubeconfig::read(path).map_err(of_kubeconfig(path))
}

fn of_kubeconfig(path: &Path) -> impl Fn(kubeconfig::Error) -> Error {
    move |source| Error::Kubeconfig {
        path: path.to_owned(),
        source,
    }
}

/// Chooses a user's credential in client-go's order: `tokenFile`, then `token` or a user name; a
/// credential plugin only without any of these and without a certificate. Returns a user
/// that has only this one, and how long it may be used.
async fn choose(path: &Path, user: &AuthInfo) -> Result<(AuthInfo, Option<Duration>), Error> {
    let both = |one, other| of_kubeconfig(path)(kubeconfig::Error::Both(one, other));
    if user.username.is_some() && (user.token.is_some() || user.token_file.is_some()) {
        return Err(both("username", "token"));
    }
    if user.exec.is_some() && user.auth_provider.is_some() {
        return Err(both("exec", "auth-provider"));
    }
    let mut chosen = AuthInfo {
        token: None,
        token_file: None,
        auth_provider: None,
        exec: None,
        ..user.clone()
    };
    let has_certificate = user.client_certificate.is_some()
        || user.client_certificate_data.is_some()
        || user.client_key.is_some()
        || user.client_key_data.is_some();
    let mut fresh = None;
    if let Some(file) = &user.token_file {
        let token = match (read_token(Path::new(file)), &user.token) {
            (Err(error), Some(token)) => {
                let error = cnidaria_core::report::chain(&error);
                tracing::warn!(error, "cannot use tokenFile; using token instead");
                token.expose_secret().to_owned()
            }
            (read, _) => read?,
        };
        chosen.token = Some(bearer(&token)?);
        fresh = Some(FRESH);
    } else if let Some(token) = &user.token {
        chosen.token = Some(bearer(token.expose_secret())?);
    } else if user.username.is_some() {
        // The library ignores a user name without a password.
        chosen.password.get_or_insert_default();
    } else if let Some(exec) = &user.exec
        && !has_certificate
    {
        let credential = plugin::run(exec).await?;
        if let Some(token) = credential.token {
            chosen.token = Some(bearer(&token)?);
        }
        if let Some(pem) = credential.identity {
            identify(&mut chosen, &pem);
        }
        fresh = credential.lasts.map(|lasts| lasts.saturating_sub(EARLY));
    } else if let Some(provider) = &user.auth_provider {
        let tokens = ["id-token", "access-token"].map(|key| provider.config.get(key));
        let token = tokens.into_iter().flatten().find(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::AuthProvider(provider.name.clone()))?;
        chosen.token = Some(bearer(token)?);
    }
    Ok((chosen, fresh))
}

/// Gives a user a client certificate: chain and key, PEM in any order.
fn identify(user: &mut AuthInfo, pem: &[u8]) {
    // The library parses the key's text and the certificate's as one.
    user.client_key_data = Some(BASE64.encode(pem).into());
    user.client_certificate_data = Some(String::new());
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

/// Checks a token: the library panics on one that is invalid in a header.
fn bearer(token: &str) -> Result<SecretString, Error> {
    let token = token.trim();
    HeaderValue::from_str(token).map_err(|_| Error::Header)?;
    Ok(token.into())
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

    /// The chosen token, or the user name and password.
    fn shown(credentials: &Credentials) -> String {
        let user = &credentials.config.auth_info;
        assert!(user.token_file.is_none() && user.exec.is_none() && user.auth_provider.is_none());
        let secret =
            |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
        match (secret(&user.token), &user.username, secret(&user.password)) {
            (Some(token), None, None) => token,
            (None, Some(name), Some(password)) => format!("{name}:{password}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn client_gos_order_decides_the_credential() {
        for (user, expected, fresh) in [
            (r#""tokenFile":"token""#.into(), "t", Some(FRESH)),
            (r#""token":" s3cret\n""#.into(), "s3cret", None),
            (r#""username":"a","password":"b""#.into(), "a:b", None),
            (r#""username":"a""#.into(), "a:", None),
            (PROVIDER.into(), "i", None),
            (EXEC.into(), "p", None),
            // The first in client-go's order wins.
            (
                r#""token":"s3cret","tokenFile":"token""#.into(),
                "t",
                Some(FRESH),
            ),
            (
                r#""token":"s3cret","tokenFile":"gone""#.into(),
                "s3cret",
                Some(FRESH),
            ),
            (
                r#""token":"s3cret","tokenFile":"","username":"","client-key":"""#.into(),
                "s3cret",
                None,
            ),
            (format!(r#""token":"","username":"a",{EXEC}"#), "a:", None),
            (format!(r#""token":"s3cret",{PROVIDER}"#), "s3cret", None),
            (format!(r#""token":"s3cret",{EXEC}"#), "s3cret", None),
            (format!(r#""tokenFile":"token",{EXEC}"#), "t", Some(FRESH)),
        ] {
            let credentials = load(ANY, &format!("{{{user}}}")).await.ok().unwrap();
            assert_eq!(shown(&credentials), expected, "{user}");
            assert_eq!(credentials.fresh, fresh, "{user}");
        }
    }

    #[tokio::test]
    async fn a_certificate_is_preferred_to_a_plugin() {
        let user = format!(
            r#"{{"client-certificate-data":"Q0VS\nVA==\n","client-key-data":"S0VZ",{EXEC}}}"#
        );
        let user = load(ANY, &user).await.ok().unwrap().config.auth_info;
        assert_eq!(user.client_certificate_data.unwrap(), "Q0VSVA==");
        assert_eq!(user.client_key_data.unwrap().expose_secret(), "S0VZ");
        assert!(user.token.is_none() && user.exec.is_none());
    }

    #[tokio::test]
    async fn contradictions_are_refused_as_by_client_go() {
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
            let error = load(cluster, user).await.err().unwrap();
            let error = cnidaria_core::report::chain(&error);
            let expected = format!("{expected} are both set, only one may be");
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[tokio::test]
    async fn unusable_tokens_are_not_quoted() {
        for user in [
            r#"{"token":"s3cret\u0001"}"#,
            r#"{"token":"s3cret\ns3cret"}"#,
            r#"{"auth-provider":{"name":"x","config":{"id-token":"s3cret\u007f"}}}"#,
        ] {
            let error = load(ANY, user).await.err().unwrap();
            let error = cnidaria_core::report::chain(&error);
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
