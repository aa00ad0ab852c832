//! Parses the record of a DEL, written by the shim while the daemon was down, into a checked
//! request.

use cni_types::args::{Command, ContainerId};
use cni_types::json::Cause;
use shim_api::deferred::Record;

use super::pod_args::Naming;
use super::request::{self, CheckedRequest, PodRequest};
use crate::conf::overlay::Overlay;

/// Why a recorded DEL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The record is truncated or not JSON.
    #[error("not a record of a DEL")]
    Json(#[source] Cause),
    /// The recorded request is malformed.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// The recorded request does not match the record's file name.
    #[error("not a DEL of this container")]
    Another,
}

/// Checks a container's record, with the daemon's configuration over its conf.
///
/// # Errors
/// [`Error`].
pub fn parse(
    text: &[u8],
    container: &ContainerId,
    overlay: &Overlay,
    naming: Naming,
) -> Result<(PodRequest, Record), Error> {
    let record = Record::parse(text).map_err(|error| Error::Json(error.into()))?;
    match request::check(&record.request, overlay, naming)? {
        CheckedRequest::Pod(request)
            if request.command == Command::Del && request.container_id == *container =>
        {
            Ok((request, record))
        }
        _ => Err(Error::Another),
    }
}
