//! Reads kubeconfigs with the client library, and evens out where it differs from client-go:
//! empty members, folded base64, contradictions. Errors never quote values, which may be secret.

use std::path::Path;

use hyper::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError, LoadDataError};
use secrecy::{ExposeSecret, SecretString};

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    /// It is not YAML, or not a kubeconfig.
    #[error("{0}")]
    Malformed(String),
    /// The value of a member is not base64.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// A name in it has no definition, or a file that it names is unusable.
    #[error(transparent)]
    Unusable(KubeconfigError),
    #[error("{0:?} is not a URL of an API server")]
    Server(String),
    #[error("certificate-authority has no certificate")]
    NoAuthority,
    /// Both of two exclusive settings are given. client-go rejects this, too.
    #[error("{0} and {1} are both set, only one may be")]
    Both(&'static str, &'static str),
}

impl From<KubeconfigError> for Error {
    fn from(error: KubeconfigError) -> Self {
        use KubeconfigError::{
            LoadCertificateAuthority, LoadClientCertificate, LoadClientKey, Parse, ReadConfig,
        };
        use LoadDataError::DecodeBase64;
        match error {
            ReadConfig(source, _) => Self::Read(source),
            Parse(error) => Self::Malformed(yaml::reason(&error)),
            LoadCertificateAuthority(DecodeBase64(_)) => Self::Base64("certificate-authority-data"),
            LoadClientCertificate(DecodeBase64(_)) => Self::Base64("client-certificate-data"),
            LoadClientKey(DecodeBase64(_)) => Self::Base64("client-key-data"),
            error => Self::Unusable(error),
        }
    }
}

/// Reads a kubeconfig's current context: the server, its CAs, and the user.
///
/// # Errors
/// [`Error`] says what is wrong with it.
pub(crate) fn read(path: &Path) -> Result<Config, Error> {
    let mut kubeconfig = Kubeconfig::read_from(path)?;
    // An empty name counts as none.
    kubeconfig.current_context = kubeconfig.current_context.filter(|name| !name.is_empty());
    let clusters = kubeconfig.clusters.iter_mut();
    clusters
        .filter_map(|named| named.cluster.as_mut())
        .for_each(tidy_cluster);
    let users = kubeconfig.auth_infos.iter_mut();
    users
        .filter_map(|named| named.auth_info.as_mut())
        .for_each(tidy_user);
    let mut config = Config::try_from(kubeconfig)?;
    check_server(&config.cluster_url)?;
    match &config.root_cert {
        Some(_) if config.accept_invalid_certs => {
            let authority = "certificate-authority";
            return Err(Error::Both(authority, "insecure-skip-tls-verify"));
        }
        Some(authorities) if authorities.is_empty() => return Err(Error::NoAuthority),
        // The library would load the system's CAs, and fail if there are none.
        None if config.accept_invalid_certs => config.root_cert = Some(Vec::new()),
        _ => {}
    }
    Ok(config)
}

/// Checks that a URL names a server and how to reach it.
///
/// # Errors
/// [`Error::Server`].
pub(crate) fn check_server(url: &Uri) -> Result<(), Error> {
    match (url.host(), url.scheme()) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(Error::Server(url.to_string())),
    }
}

fn tidy_cluster(cluster: &mut Cluster) {
    tidy_path(&mut cluster.certificate_authority);
    tidy_data(&mut cluster.certificate_authority_data);
    tidy_text(&mut cluster.tls_server_name);
}

fn tidy_user(user: &mut AuthInfo) {
    tidy_text(&mut user.username);
    let given = |token: &SecretString| !token.expose_secret().is_empty();
    user.token = user.token.take().filter(given);
    for path in [
        &mut user.token_file,
        &mut user.client_certificate,
        &mut user.client_key,
    ] {
        tidy_path(path);
    }
    tidy_data(&mut user.client_certificate_data);
    let key = user.client_key_data.take();
    let mut key = key.map(|key| key.expose_secret().to_owned());
    tidy_data(&mut key);
    user.client_key_data = key.map(SecretString::from);
}

fn tidy_text(text: &mut Option<String>) {
    *text = text.take().filter(|text| !text.is_empty());
}

/// The library has joined an empty path to the kubeconfig's directory.
fn tidy_path(path: &mut Option<String>) {
    let given = |path: &String| !path.is_empty() && !path.ends_with('/');
    *path = path.take().filter(given);
}

/// Go's decoder ignores the line breaks of folded base64.
fn tidy_data(data: &mut Option<String>) {
    let joined = data.take().map(|data| data.replace(['\n', '\r'], ""));
    *data = joined.filter(|data| !data.is_empty());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &str = r#"
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: near, user: me}}
clusters:
- name: near
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority: ca.crt
users:
- name: me
  user:
    token: s3cret
    exec: {command: plugin, args: [-v], env: null}
"#;

    /// Reads [`TEXT`] with a change, in a directory with a file `ca.crt`.
    fn read_changed(from: &str, to: &str, authorities: &str) -> Result<Config, String> {
        assert!(TEXT.contains(from), "{from}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        fs::write(&path, TEXT.replace(from, to)).unwrap();
        fs::write(dir.path().join("ca.crt"), authorities).unwrap();
        let here = dir.path().display().to_string();
        read(&path).map_err(|error| cnidaria_core::report::chain(&error).replace(&here, ""))
    }

    fn authority() -> String {
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn errors_name_what_is_wrong_without_secrets() {
        for (from, to, expected) in [
            ("current-context: here", "", "current context"),
            (
                "current-context: here",
                "current-context: \"\"",
                "current context",
            ),
            ("current-context: here", "current-context: x", "context: x"),
            ("cluster: near", "cluster: x", "cluster of context: x"),
            ("args: [-v]", "args: {s3cret: 1}", "line "),
            ("args: [-v]", "args: s3cret", "line "),
            ("token: s3cret", "token: [s3cret]", "line "),
            ("token: s3cret", "{{s3cret", "line "),
            ("https://10.0.0.1:6443", "10.0.0.1:6443", "is not a URL"),
            ("https://10.0.0.1:6443", "s3cret s3cret", "cluster url"),
            ("ca.crt", "none.crt", "/none.crt"),
            (
                "certificate-authority: ca.crt",
                "certificate-authority-data: s3cret!",
                "certificate-authority-data is not base64",
            ),
        ] {
            let error = read_changed(from, to, &authority()).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
            assert!(!error.contains("s3cret"), "{to}: {error}");
        }
        let error = read_changed("near", "near", "").unwrap_err();
        assert_eq!(error, "certificate-authority has no certificate");
        let error = read(Path::new("/nowhere/kubeconfig")).unwrap_err();
        assert!(matches!(error, Error::Read(_)), "{error}");
    }

    #[test]
    fn a_missing_user_is_anonymous() {
        let config = read_changed("user: me", "user: x", &authority()).unwrap();
        assert!(config.auth_info.token.is_none() && config.auth_info.exec.is_none());
    }

    #[test]
    fn folded_base64_and_empty_members_are_read() {
        let folded = "certificate-authority-data: |\n      LS0t\n      LS0K\n    certificate-authority: \"\"";
        let error = read_changed("certificate-authority: ca.crt", folded, "").unwrap_err();
        assert_eq!(error, "certificate-authority has no certificate");
        let empty = "certificate-authority: ca.crt\n    certificate-authority-data: \"\"";
        let text = authority();
        let config = read_changed("certificate-authority: ca.crt", empty, &text).unwrap();
        assert_eq!(config.root_cert.unwrap().len(), 1);
    }

    #[test]
    fn skipping_verification_needs_no_cas() {
        let insecure = "insecure-skip-tls-verify: true";
        let config = read_changed("certificate-authority: ca.crt", insecure, "").unwrap();
        assert_eq!(config.root_cert, Some(Vec::new()));
    }
}
