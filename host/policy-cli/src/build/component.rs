//! Makes a component of a core module.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use super::Error;

/// How a core module begins; a component has another layer after the magic number.
const CORE: &[u8] = b"\0asm\x01\0\0\0";

/// The component of what a toolchain wrote: the same bytes if it is a component already.
///
/// # Errors
/// [`Error::Component`] if the module imports or exports what its WIT does not have.
pub(super) fn of(module: &[u8]) -> Result<Vec<u8>, Error> {
    if !module.starts_with(CORE) {
        return Ok(module.to_vec());
    }
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        // Modules of C libraries may import the first version of WASI.
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| Error::Component {
        reason: format!("{error:#}").replace('\n', " "),
    })
}
