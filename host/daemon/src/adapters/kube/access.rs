//! Where the API server is and who this daemon is to it: a pod's service account, a kubeconfig, or
//! a certificate of the node's own.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::NodeCertificate;
use super::certificate::kept;

/// Where the kubelet puts a pod's service account.
const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why there are no credentials. They may be there later.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: KubeconfigError,
    },
    /// A file of credentials cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is no list of certificates.
    #[error("{path} has no certificate authority: {reason}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate of the node's own cannot be used.
    #[error(transparent)]
    Kept(#[from] kept::Error),
    /// There was none yet, or it is too old.
    #[error("no certificate of this node in {dir} that is good at present")]
    NoCertificate {
        /// Where certificates are kept.
        dir: PathBuf,
    },
    /// TLS or HTTP cannot be set up with them.
    #[error("credentials")]
    Unusable(#[source] Box<kube::Error>),
}

/// How the API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As a pod of the cluster.
    InCluster {
        /// `https://host:port` of the API server.
        server: String,
        /// Directory of the service account: `token` and `ca.crt`, which the kubelet replaces in
        /// place.
        service_account: PathBuf,
    },
    /// By a kubeconfig.
    Kubeconfig(PathBuf),
    /// By a certificate of the node's own.
    NodeCertificate(NodeCertificate),
}

impl Access {
    /// In the cluster, as the environment of a pod tells; `None` outside of one.
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

    /// Reads the credentials. Called at the first request and again when they are refused.
    ///
    /// # Errors
    /// [`Error`] names the file.
    pub(super) async fn load(&self) -> Result<kube::Config, Error> {
        match self {
            Self::InCluster {
                server,
                service_account,
            } => in_cluster(server, service_account),
            Self::Kubeconfig(path) => kubeconfig(path).await,
            Self::NodeCertificate(own) => {
                let kept = kept::load(&own.dir)?.filter(|kept| kept.ends > SystemTime::now());
                let kept = kept.ok_or_else(|| Error::NoCertificate {
                    dir: own.dir.clone(),
                })?;
                let mut config = kubeconfig(&own.bootstrap_kubeconfig).await?;
                config.auth_info = kept.auth_info();
                Ok(config)
            }
        }
    }
}

fn in_cluster(server: &str, service_account: &Path) -> Result<kube::Config, Error> {
    let token = service_account.join("token");
    // `kube` reads the token again every minute, and the CA for new connections as often.
    std::fs::metadata(&token).map_err(|source| Error::Read {
        path: token.clone(),
        source,
    })?;
    let uri = server.parse().map_err(|source| Error::Kubeconfig {
        path: service_account.to_owned(),
        source: KubeconfigError::ParseClusterUrl(source),
    })?;
    let mut config = kube::Config::new(uri);
    let authority = service_account.join("ca.crt");
    // The file is what counts. Without these `kube` would load what the system trusts besides, which
    // an image need not have.
    config.root_cert = Some(authorities(&authority)?);
    config.root_cert_file = Some(authority);
    config.auth_info.token_file = Some(token.display().to_string());
    Ok(config)
}

fn authorities(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let pem = std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Authority {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

async fn kubeconfig(path: &Path) -> Result<kube::Config, Error> {
    let error = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let file = Kubeconfig::read_from(path).map_err(error)?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(error)
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
        let error = access.load().await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/kubeconfig"), "{error}");
        let access = Access::InCluster {
            server: "https://10.0.0.1:443".into(),
            service_account: "/nowhere".into(),
        };
        let error = access.load().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/token");
    }
}
