//! Reads a kubeconfig: the server and the daemon's credentials. As client-go does, for a single
//! file; without proxies and impersonation.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::yaml;

/// A cluster's extension with configuration for credential plugins.
const FOR_PLUGINS: &str = "client.authentication.k8s.io/exec";

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is not YAML, or not a kubeconfig.
    #[error("{0}")]
    Malformed(String),
    /// A name in it has no definition.
    #[error("no {what} {name:?}")]
    Missing {
        /// Kind of the missing entry.
        what: &'static str,
        name: String,
    },
    /// The value of a member is not base64.
    #[error("{0} is no base64")]
    Base64(&'static str),
}

/// The current context's cluster and user, with relative paths resolved.
#[derive(Debug, Default)]
pub(super) struct Kubeconfig {
    pub(super) cluster: Cluster,
    pub(super) user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    #[serde(default, deserialize_with = "listed")]
    contexts: Vec<Value>,
    #[serde(default, deserialize_with = "listed")]
    clusters: Vec<Value>,
    #[serde(default, deserialize_with = "listed")]
    users: Vec<Value>,
}

fn listed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: Option<String>,
}

/// A cluster of a kubeconfig.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Cluster {
    pub(super) server: String,
    pub(super) insecure_skip_tls_verify: Option<bool>,
    pub(super) tls_server_name: Option<String>,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
    extensions: Option<Vec<Value>>,
}

/// A user of a kubeconfig. Its values are secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct User {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    pub(super) auth_provider: Option<AuthProvider>,
    pub(super) exec: Option<Exec>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").finish_non_exhaustive()
    }
}

/// A removed authentication method, formerly built into clients.
#[derive(Deserialize)]
pub(super) struct AuthProvider {
    pub(super) name: String,
    #[serde(default)]
    pub(super) config: HashMap<String, Value>,
}

/// A credential plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exec {
    pub(super) api_version: String,
    pub(super) command: PathBuf,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) provide_cluster_info: bool,
}

/// An environment variable of a credential plugin.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

impl Kubeconfig {
    /// Reads a kubeconfig.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = read(path)?;
        let text = String::from_utf8(text).map_err(|error| malformed(&error))?;
        let mut files = Vec::new();
        for document in yaml::documents(&text).map_err(Error::Malformed)? {
            files.push(parse::<File>("kubeconfig", document)?);
        }
        // With several documents, the first that sets it wins.
        let current = files.iter().find_map(|file| file.current_context.clone());
        let current = current.filter(|name| !name.is_empty());
        let name = current.ok_or_else(|| missing("current context", ""))?;
        let context: Context = find(&files, "context", |file| &file.contexts, &name)?
            .ok_or_else(|| missing("context", &name))?;
        let mut cluster: Cluster =
            find(&files, "cluster", |file| &file.clusters, &context.cluster)?
                .ok_or_else(|| missing("cluster", &context.cluster))?;
        // client-go treats a missing user as anonymous.
        let user = context.user.unwrap_or_default();
        let mut user: User = find(&files, "user", |file| &file.users, &user)?.unwrap_or_default();
        let dir = path.parent().unwrap_or(Path::new(""));
        for path in [
            &mut cluster.certificate_authority,
            &mut user.client_certificate,
            &mut user.client_key,
            &mut user.token_file,
        ] {
            let given = path.take().filter(|path| !path.as_os_str().is_empty());
            *path = given.map(|path| dir.join(path));
        }
        if let Some(exec) = &mut user.exec {
            // A bare name is looked up in PATH.
            if exec.command.components().count() > 1 {
                exec.command = dir.join(&exec.command);
            }
        }
        Ok(Self { cluster, user })
    }
}

impl Cluster {
    /// The CAs to verify the server with, as PEM; `None` for the system's.
    pub(super) fn authority(&self) -> Result<Option<Vec<u8>>, Error> {
        given(
            "certificate-authority-data",
            self.certificate_authority_data.as_deref(),
            self.certificate_authority.as_deref(),
        )
    }

    /// The cluster information for credential plugins.
    pub(super) fn for_plugins(&self) -> Result<Value, Error> {
        let extensions = self.extensions.iter().flatten();
        let config = extensions
            .filter(|extension| {
                extension
                    .get("name")
                    .is_some_and(|name| name == FOR_PLUGINS)
            })
            .find_map(|extension| extension.get("extension"));
        let authority = self.authority()?;
        let mut told = serde_json::Map::new();
        let mut tell = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                told.insert(key.to_owned(), value);
            }
        };
        tell("server", Some(self.server.clone().into()));
        tell(
            "insecure-skip-tls-verify",
            self.insecure_skip_tls_verify.map(Value::from),
        );
        tell(
            "certificate-authority-data",
            authority.map(|authority| BASE64.encode(authority).into()),
        );
        tell("proxy-url", self.proxy_url.clone().map(Value::from));
        tell(
            "tls-server-name",
            self.tls_server_name.clone().map(Value::from),
        );
        tell("config", config.cloned());
        Ok(Value::Object(told))
    }
}

impl User {
    /// The client certificate chain and key, as PEM.
    pub(super) fn identity(&self) -> Result<Option<Vec<u8>>, Error> {
        let certificate = given(
            "client-certificate-data",
            self.client_certificate_data.as_deref(),
            self.client_certificate.as_deref(),
        )?;
        let key = given(
            "client-key-data",
            self.client_key_data.as_deref(),
            self.client_key.as_deref(),
        )?;
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing("client-key", "")),
            (None, Some(_)) => Err(missing("client-certificate", "")),
            (Some(certificate), Some(mut key)) => {
                key.push(b'\n');
                key.extend(certificate);
                Ok(Some(key))
            }
        }
    }
}

/// The inline value, or else the content of the file named instead.
fn given(
    member: &'static str,
    data: Option<&str>,
    path: Option<&Path>,
) -> Result<Option<Vec<u8>>, Error> {
    match (data.filter(|data| !data.is_empty()), path) {
        // Go's decoder ignores the line breaks of folded text.
        (Some(data), _) => match BASE64.decode(data.replace(['\n', '\r'], "")) {
            Ok(data) => Ok(Some(data)),
            Err(_) => Err(Error::Base64(member)),
        },
        (None, Some(path)) => read(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// Finds a name in a list of entries `{"name": …, <what>: …}`.
fn find<T: DeserializeOwned>(
    files: &[File],
    what: &'static str,
    list: impl Fn(&File) -> &Vec<Value>,
    name: &str,
) -> Result<Option<T>, Error> {
    let mut all = files.iter().flat_map(list);
    let found = all.find(|item| item.get("name").is_some_and(|given| given == name));
    let found = found.and_then(|found| found.get(what));
    found.map(|found| parse(what, found.clone())).transpose()
}

/// Parses a part of the file. Errors name the member and never quote values, which may be secret.
fn parse<T: DeserializeOwned>(what: &str, value: Value) -> Result<T, Error> {
    // serde would accept an array, taking its elements as members in order.
    if value.is_array() {
        return Err(Error::Malformed(format!("{what}: a list, not an object")));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        Error::Malformed(format!("{what}: {path} is not what it has to be"))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn missing(what: &'static str, name: &str) -> Error {
    Error::Missing {
        what,
        name: name.to_owned(),
    }
}

fn malformed(error: &dyn std::error::Error) -> Error {
    Error::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(text: &str) -> (tempfile::TempDir, Result<Kubeconfig, Error>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        fs::write(&path, text).unwrap();
        let read = Kubeconfig::read(&path);
        (dir, read)
    }

    const TEXT: &str = r#"
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: there, context: {cluster: far, user: nobody}}
- {name: here, context: {cluster: near, user: me, namespace: n}}
clusters:
- name: near
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority: pki/ca.crt
    extensions:
    - {name: client.authentication.k8s.io/exec, extension: {audience: a}}
users:
- name: me
  user:
    tokenFile: /run/token
    client-certificate-data: Q0VSVA==
    client-key: me.key
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: bin/plugin
      args: [-v]
      env: null
      interactiveMode: Never
"#;

    #[test]
    fn the_current_context_counts_and_paths_begin_at_the_file() {
        let (dir, read) = kubeconfig(TEXT);
        let Kubeconfig { cluster, user } = read.unwrap();
        fs::create_dir(dir.path().join("pki")).unwrap();
        fs::write(dir.path().join("pki/ca.crt"), "CA").unwrap();
        fs::write(dir.path().join("me.key"), "KEY").unwrap();
        assert_eq!(cluster.server, "https://10.0.0.1:6443");
        assert_eq!(cluster.authority().unwrap().unwrap(), b"CA");
        assert_eq!(user.identity().unwrap().unwrap(), b"KEY\nCERT");
        assert_eq!(user.token_file.as_deref(), Some(Path::new("/run/token")));
        let exec = user.exec.unwrap();
        assert_eq!(exec.command, dir.path().join("bin/plugin"));
        assert_eq!(exec.args.unwrap(), ["-v"]);
        let told = cluster.for_plugins().unwrap();
        assert_eq!(told["certificate-authority-data"], "Q0E=");
        assert_eq!(told["config"]["audience"], "a");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_no_secret_is() {
        for (from, to, expected) in [
            ("current-context: here", "", "no current context \"\""),
            (
                "current-context: here",
                "current-context: x",
                "no context \"x\"",
            ),
            ("cluster: near", "cluster: x", "no cluster \"x\""),
            (
                "args: [-v]",
                "args: {s3cret: 1}",
                "user: exec.args is not what it has to be",
            ),
        ] {
            let (_dir, read) = kubeconfig(&TEXT.replace(from, to));
            assert_eq!(read.unwrap_err().to_string(), expected);
        }
        let (_dir, read) = kubeconfig(&TEXT.replace("Q0VSVA==", "s3cret!"));
        let error = read.unwrap().user.identity().unwrap_err();
        assert_eq!(error.to_string(), "client-certificate-data is no base64");
        let (_dir, read) = kubeconfig(&TEXT.replace("user: me", "user: x"));
        assert!(read.unwrap().user.token_file.is_none());
    }

    #[test]
    fn json_is_a_kubeconfig_too() {
        let (_dir, read) = kubeconfig(
            r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
                "clusters":[{"name":"c","cluster":{"server":"https://a"}}],"users":[{"name":"u","user":{"token":"t"}}]}"#,
        );
        let Kubeconfig { cluster, user } = read.unwrap();
        assert_eq!(user.token.as_deref(), Some("t"));
        assert_eq!(cluster.authority().unwrap(), None);
    }
}
