//! `cnidaria ready`: the probes of the DaemonSet.

use std::path::Path;

use shim_api::endpoint;

use crate::args::ReadyArgs;
use crate::{Output, daemon};

/// Asks the daemon whether it is ready or, with `--live`, whether it serves.
///
/// # Errors
/// [`daemon::Error`]; the probe then fails.
pub fn ready(args: &ReadyArgs, socket_dir: &Path) -> Result<Output, daemon::Error> {
    let (path, text) = match args.live {
        true => (endpoint::HEALTHZ, "live\n"),
        false => (endpoint::READYZ, "ready\n"),
    };
    daemon::probe(socket_dir, path)?;
    Ok(Output {
        text: text.to_owned(),
        code: 0,
    })
}
