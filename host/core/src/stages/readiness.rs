//! Waits for the default network's readiness indicator, a file written by that network's daemon.

use std::path::PathBuf;
use std::time::Duration;

use crate::conf::net_conf::NetConf;
use crate::ports::NodeFiles;

/// The default network is not ready.
#[derive(Debug, thiserror::Error)]
#[error("the default network is not ready: {file} is missing{}", after(*waited))]
pub struct Error {
    /// `readinessindicatorfile`.
    pub file: PathBuf,
    /// How long the daemon waited.
    pub waited: Duration,
}

fn after(waited: Duration) -> String {
    match waited.is_zero() {
        true => String::new(),
        false => format!(", after waiting for {waited:?}"),
    }
}

/// Waits until the default network is ready, at most for `patience`. Returns at once if no
/// indicator file is configured.
///
/// # Errors
/// [`Error`]; the network may become ready later.
pub async fn await_indicator(
    conf: &NetConf,
    files: &dyn NodeFiles,
    patience: Duration,
) -> Result<(), Error> {
    let Some(file) = conf.readiness_indicator.as_deref() else {
        return Ok(());
    };
    match files.appears(file, patience).await {
        true => Ok(()),
        false => Err(Error {
            file: file.to_owned(),
            waited: patience,
        }),
    }
}
