//! Credential plugins of a kubeconfig: programs that print a token or a certificate.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::config::ExecConfig;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

/// Timeout of a plugin.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest output that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a plugin gives no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kubeconfig names no program.
    #[error("exec has no command")]
    NoCommand,
    /// The program cannot be executed.
    #[error("cannot execute {command}")]
    Start {
        command: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The program failed, timed out, or printed something else.
    #[error("{command} {reason}")]
    Failed {
        command: String,
        /// What is wrong with the output or exit.
        reason: String,
    },
}

/// A plugin's credential. It is secret.
pub(crate) struct Credential {
    pub(crate) token: Option<String>,
    /// Certificate chain and key, PEM.
    pub(crate) identity: Option<Vec<u8>>,
    /// How long it is valid.
    pub(crate) lasts: Option<Duration>,
}

#[derive(Deserialize)]
struct Printed {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// Executes a plugin non-interactively. Its standard error goes to the daemon's log.
///
/// # Errors
/// [`Error`] names the program and never quotes its output.
pub(crate) async fn run(exec: &ExecConfig) -> Result<Credential, Error> {
    let command = exec.command.clone().ok_or(Error::NoCommand)?;
    let failed = |reason: String| Error::Failed {
        command: command.clone(),
        reason,
    };
    let spec = match &exec.cluster {
        Some(cluster) => json!({"interactive": false, "cluster": cluster}),
        None => json!({"interactive": false}),
    };
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    let variables = exec.env.iter().flatten();
    let variables = variables.filter_map(|one| Some((one.get("name")?, one.get("value")?)));
    let run = tokio::process::Command::new(&command)
        .args(exec.args.iter().flatten())
        .envs(variables)
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = run.map_err(|source| Error::Start {
        command: command.clone(),
        source,
    })?;
    let (status, stdout) = match tokio::time::timeout(TIMEOUT, end(child)).await {
        Ok(ended) => ended.map_err(|error| failed(error.to_string()))?,
        Err(_) => {
            return Err(failed(format!(
                "did not end within {} s",
                TIMEOUT.as_secs()
            )));
        }
    };
    if !status.success() {
        return Err(failed(format!("ended with {status}")));
    }
    let printed = String::from_utf8(stdout).ok();
    let printed = printed.and_then(|text| yaml::documents(&text).ok()?.into_iter().next());
    let printed = printed.and_then(|document| serde_json::from_value::<Printed>(document).ok());
    let Some(Printed { status }) = printed else {
        return Err(failed("prints no ExecCredential with a status".to_owned()));
    };
    let lasts = match status.expiration_timestamp {
        None => None,
        Some(text) => match text.parse::<Timestamp>() {
            Ok(end) => Some(lasts(end)),
            Err(error) => return Err(failed(format!("prints no time of expiry: {error}"))),
        },
    };
    let identity = status
        .client_key_data
        .zip(status.client_certificate_data)
        .map(|(key, certificate)| format!("{key}\n{certificate}\n").into_bytes());
    let token = status.token.filter(|token| !token.is_empty());
    if token.is_none() && identity.is_none() {
        return Err(failed(
            "prints neither a token nor a certificate".to_owned(),
        ));
    }
    Ok(Credential {
        token,
        identity,
        lasts,
    })
}

/// Waits for a plugin and reads its output. Dropping the future kills the plugin.
async fn end(mut child: Child) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut printed = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.take(MAX_BYTES + 1).read_to_end(&mut printed).await?;
    }
    if printed.len() as u64 > MAX_BYTES {
        let reason = format!("prints more than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok((child.wait().await?, printed))
}

#[expect(clippy::disallowed_methods, reason = "the expiry of a credential")]
fn lasts(end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kube::config::ExecAuthCluster;

    use super::*;

    async fn print(script: &str) -> Result<Credential, Error> {
        let exec = serde_json::from_value::<ExecConfig>(json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "env": [{"name": "WHO", "value": "me"}],
        }));
        let mut exec = exec.unwrap();
        exec.cluster = Some(ExecAuthCluster {
            server: Some("https://a".to_owned()),
            ..ExecAuthCluster::default()
        });
        run(&exec).await
    }

    #[tokio::test]
    async fn exec_plugin_gets_cluster_and_returns_token() {
        // The plugin echoes its input as the token, without the quotes that would break the JSON.
        let script = r#"told=$(echo "$WHO $KUBERNETES_EXEC_INFO" | tr -d '"')
            echo "{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"$told\",\"expirationTimestamp\":\"2999-01-01T00:00:00Z\"}}""#;
        let credential = print(script).await.unwrap();
        assert_eq!(
            credential.token.unwrap(),
            "me {apiVersion:client.authentication.k8s.io/v1,kind:ExecCredential,spec:{cluster:{server:https://a},interactive:false}}"
        );
        assert!(credential.lasts.unwrap() > Duration::from_secs(1 << 30));
        assert!(credential.identity.is_none());
    }

    #[tokio::test]
    async fn exec_plugin_certificate_may_be_expired() {
        let script = r#"echo '{"status":{"clientCertificateData":"C","clientKeyData":"K","expirationTimestamp":"2001-01-01T00:00:00Z"}}'"#;
        let credential = print(script).await.unwrap();
        assert_eq!(credential.identity.unwrap(), b"K\nC\n");
        assert_eq!(credential.lasts, Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn exec_plugin_error_omits_its_output() {
        for (script, expected) in [
            ("yes s3cret", "sh prints more than 1048576 bytes"),
            ("echo s3cret; exit 3", "sh ended with exit status: 3"),
            ("echo s3cret", "sh prints no ExecCredential with a status"),
            (
                r#"echo '{"status":{}}'"#,
                "sh prints neither a token nor a certificate",
            ),
            (
                r#"echo '{"status":{"token":""}}'"#,
                "sh prints neither a token nor a certificate",
            ),
        ] {
            let error = print(script).await.err().unwrap();
            assert_eq!(error.to_string(), expected);
        }
    }
}
