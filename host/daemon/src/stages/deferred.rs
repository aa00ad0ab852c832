//! What a shim recorded while no daemon was there becomes a checked request.

use cni_types::args::{Command, ContainerId};
use cni_types::json::Cause;
use shim_api::deferred::Record;

use super::pod_args::Naming;
use super::request::{self, PodRequest, Request};
use crate::config::overlay::Overlay;

/// Why a record cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is torn, or no record.
    #[error("not a record of a DEL")]
    Json(#[source] Cause),
    /// The request in it is wrong.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// The request in it is another one than its name says.
    #[error("not a DEL of this container")]
    Another,
}

/// Checks the record of a container, with the daemon's file over the conf in it.
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
    match request::parse(&record.request.to_json(), overlay, naming)? {
        Request::Pod(request)
            if request.command == Command::Del && request.container_id == *container =>
        {
            Ok((request, record))
        }
        _ => Err(Error::Another),
    }
}
