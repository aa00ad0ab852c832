//! Waits for the default network's readiness indicator, a file written by that network's daemon.

use std::path::PathBuf;
use std::time::Duration;

use crate::conf::net_conf::NetConf;
use crate::watch;

/// The default network is not ready.
#[derive(Debug, thiserror::Error)]
#[error("the default network is not ready: {file} is missing, after waiting for {waited:?}")]
pub struct Error {
    /// `readinessindicatorfile`.
    pub file: PathBuf,
    /// How long the daemon waited.
    pub waited: Duration,
}

/// Waits until the default network is ready, at most for `patience`. Returns at once if no
/// indicator file is configured.
///
/// # Errors
/// [`Error`]; the network may become ready later.
pub async fn await_indicator(conf: &NetConf, patience: Duration) -> Result<(), Error> {
    let Some(file) = conf.readiness_indicator.as_deref() else {
        return Ok(());
    };
    match tokio::time::timeout(patience, watch::exists(file)).await {
        Ok(Ok(())) => Ok(()),
        // Checked even if the watch failed, most likely because inotify watches are exhausted.
        _ if file.exists() => Ok(()),
        _ => Err(Error {
            file: file.to_owned(),
            waited: patience,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::RawObject;

    fn conf(file: &std::path::Path) -> NetConf {
        let text = format!(r#"{{"readinessindicatorfile":"{}"}}"#, file.display());
        NetConf::of_daemon(&RawObject::parse(text).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_file_that_comes_in_time_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready");
        let conf = conf(&file);
        let (ready, ()) = tokio::join!(await_indicator(&conf, Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            std::fs::write(&file, "").unwrap();
        });
        ready.unwrap();
        await_indicator(&conf, Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_does_not_come_is_named() {
        let conf = conf(std::path::Path::new("/nonexistent/ready"));
        let error = await_indicator(&conf, Duration::from_millis(5))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ready"), "{error}");
    }
}
