//! Rejects plans that would execute the daemon's own shim, which would make the daemon wait for
//! itself.

use crate::conf::net_conf::NetConf;
use crate::domain::attachment::Attachment;
use crate::domain::shim;

/// A network would execute the shim. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("network {network:?}")]
pub struct Error {
    /// The network's name as in network-status.
    network: String,
    /// What is wrong with its conf.
    #[source]
    source: shim::Error,
}

/// Checks the attachments of a plan. Runs after the policies, which may have changed a `type`.
///
/// # Errors
/// [`Error`] names the first such network.
pub fn refuse(attachments: &[Attachment], conf: &NetConf) -> Result<(), Error> {
    for attachment in attachments {
        let checked = conf.shims.refuse_in(&attachment.conf);
        checked.map_err(|source| Error {
            network: attachment.network.clone(),
            source,
        })?;
    }
    Ok(())
}
