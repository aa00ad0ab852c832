//! The host's side of the WIT package: what guests call.
//!
//! One file an interface. Everything a guest hands over is hostile until checked: sizes are
//! bounded by the store before a function here runs, values are checked by the transaction.

mod attachment;
mod convert;
pub(crate) mod handle;
mod log;
mod outcome;
mod plan;
mod request;
mod selections;
mod settings;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::cnidaria::policy as wit;
use crate::store::GuestState;

/// Gives a linker the imports that every policy has.
pub(crate) fn link_always(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wit::settings::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wit::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}
